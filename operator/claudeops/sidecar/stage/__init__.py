"""The stages of a request's walk: each one function ``(call, runtime) -> Answer | None`` that can be read alone."""
