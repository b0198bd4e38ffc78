from tests.faults.rigs import machines, shared_rig

__all__ = ["machines", "shared_rig"]
