"""The compiled form: what it is made of."""

from tools.compile.build import COLD, FOLDERS, PACKAGE, SOURCES, hot_modules


def test_the_request_path_is_compiled_and_its_msgspec_structs_are_not() -> None:
    modules = hot_modules()
    assert {f"claudeops/{name}.py" for name in ("sidecar/pipeline", "sidecar/stage/cache", "wire/server", "policy/limiter")} <= set(modules)
    assert not {f"claudeops/{name}.py" for name in ("sidecar/wireformat", "sidecar/lifecycle", "proxyconfig")} & set(modules)
    assert not [name for name in modules if b"msgspec.Struct" in (SOURCES / name).read_bytes()]


def test_what_is_left_out_is_there_to_be_left_out() -> None:
    for folder, names in COLD.items():
        assert folder in FOLDERS
        assert all((SOURCES / PACKAGE / folder / f"{name}.py").exists() for name in names)
