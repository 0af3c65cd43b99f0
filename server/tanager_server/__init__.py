"""The Tanager server: batched ONNX inference and HNSW retrieval behind gRPC.

Imports go down only: `rpc` → `engine` → `runtime`, `index` → `bundle`, `settings`, `telemetry`, `errors`.
Nothing below `rpc` knows gRPC.
"""
