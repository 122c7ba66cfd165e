"""What computes the network: torch, OpenVINO or ONNX Runtime, in single precision or bfloat16, behind one small interface."""
