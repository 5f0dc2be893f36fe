"""What computes a network: onnxruntime or Caffe, behind one interface."""
