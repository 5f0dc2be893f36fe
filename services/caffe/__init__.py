"""Caffe networks: their files, layers and weights, read and checked without Caffe."""
