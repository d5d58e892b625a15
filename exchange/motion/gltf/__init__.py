"""Binary glTF 2.0 (.glb)."""
