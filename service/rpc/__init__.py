"""The Open Inference Protocol v2 over gRPC, where the extra `grpc` is installed and the setting `grpc_port` is given.

`messages.py` knows how its messages carry requests and answers, `methods.py` what each call does, `calls.py` how any
call begins and ends, `server.py` the port. What requests mean is the same as over HTTP, and stands in `service/v2/`.
"""
