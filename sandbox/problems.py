"""Errors that stop the sandbox; their messages say what to do."""


class SandboxError(Exception):
    """The sandbox can't continue; the message is for people, `exit_code` for scripts."""

    exit_code = 1


class RefusedError(SandboxError):
    """The request cannot be met here; nothing was started or changed."""

    exit_code = 2
