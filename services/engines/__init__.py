"""Engines that run a network, onnxruntime or Caffe, behind one interface."""
