"""Compiling for Kubeflow Pipelines, and running what was compiled under kfp's own local runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_project import MakeProject, Project, gives, measures, parameter, step, takes

from nb2pipe.findings import Nb2pipeError
from nb2pipe.notebook.model import Resources, Secret
from nb2pipe.pipeline.model import Artifact, Fragment, Input, InputFile, Output, Requirement
from nb2pipe.targets.base import CompileError, RunResult
from nb2pipe.targets.kfp import Kfp, compile
from nb2pipe.targets.kfp_local import run_kfp
from nb2pipe.targets.local import run


def compiled(project: Project) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compile(project.root).read_text()))


def by_kfp(project: Project, parameters: dict[str, Any] | None = None) -> RunResult:
    folders = {"notebook_dir": project.notebook_dir, "runs_dir": project.notebook_dir / "runs"}
    return run_kfp(project.root, parameters or {}, **folders, on_event=project.events.append)


def outcome(result: RunResult) -> dict[str, Any]:
    printed = {item.name: (item.status, item.stdout.read_text()) for item in result.steps}
    outputs = {item.name: sorted(item.outputs) for item in result.steps}
    return {"printed": printed, "outputs": outputs, "metrics": dict(result.metrics), "error": result.error}


def test_the_pipeline_has_types_parameters_and_packages(fares: Project) -> None:
    [spec] = compiled(fares)
    root = spec["root"]["inputDefinitions"]["parameters"]
    kinds = {name: row["parameterType"] for name, row in root.items()}
    assert kinds == {
        "rows": "NUMBER_INTEGER", "scale": "NUMBER_DOUBLE", "verbose": "BOOLEAN", "options": "STRING",
        "names": "STRING", "label": "STRING", "limit": "STRING", "data_fares_csv": "STRING",
    }  # fmt: skip
    assert (root["rows"]["defaultValue"], root["label"]["defaultValue"]) == (3.0, "it's")
    outputs = spec["components"]["comp-train"]["outputDefinitions"]["artifacts"]
    titles = {name: row["artifactType"]["schemaTitle"] for name, row in outputs.items()}
    assert titles == {"model": "system.Model", "metrics": "system.Metrics", "out_model_txt": "system.Artifact"}
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["report"]["dependentTasks"] == ["count", "train"]
    container = spec["deploymentSpec"]["executors"]["exec-train"]["container"]
    assert container["image"] == "python:3.11-slim"
    assert "'pytest'" in container["command"][2]
    assert "pytest" not in spec["deploymentSpec"]["executors"]["exec-load"]["container"]["command"][2]


def test_compiling_gives_the_same_bytes(fares: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    for seed in ("0", "7"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        texts.add(compile(fares.root).read_bytes())
    subprocess.run([sys.executable, "pipeline.py"], cwd=fares.root, check=True)
    texts.add((fares.root / "pipeline.yaml").read_bytes())
    assert len(texts) == 1
    assert sorted(path.name for path in fares.root.glob("*pipeline*")) == ["pipeline.py", "pipeline.yaml"]
    assert str(fares.root).encode() not in texts.pop()


def test_every_resource_arrives(make_project: MakeProject) -> None:
    resources = Resources(
        cpu="2", memory="4Gi", accelerator="nvidia-l4", accelerators=2, image="ghcr.io/me/python:1", retries=3,
        timeout=7200, cache=False, env=(("MODE", 'a"b'),), secrets=(Secret("db", "password", "DB"),),
    )  # fmt: skip
    spec, platform = compiled(make_project({step("big", form="module", resources=resources): "pass\n"}))
    container = spec["deploymentSpec"]["executors"]["exec-big"]["container"]
    assert container["image"] == "ghcr.io/me/python:1"
    assert container["env"] == [{"name": "MODE", "value": 'a"b'}]
    wanted = container["resources"]
    assert (wanted["resourceCpuLimit"], wanted["resourceCpuRequest"]) == ("2", "2")
    assert (wanted["resourceMemoryLimit"], wanted["resourceMemoryRequest"]) == ("4Gi", "4Gi")
    gpu = wanted["accelerator"]
    assert (gpu["resourceCount"], gpu["resourceType"]) == ("2", "nvidia.com/gpu")
    task = spec["root"]["dag"]["tasks"]["big"]
    assert task["retryPolicy"]["maxRetryCount"] == 3
    assert task["cachingOptions"] == {}
    assert platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-big"] == {
        "activeDeadlineSeconds": "7200",
        "nodeSelector": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
        "secretAsEnv": [
            {
                "secretName": "db",
                "secretNameParameter": {"runtimeValue": {"constant": "db"}},
                "keyToEnv": [{"secretKey": "password", "envVar": "DB"}],
                "optional": False,
            }
        ],
    }


def test_a_step_that_wants_nothing_gets_nothing(make_project: MakeProject) -> None:
    documents = compiled(make_project({step("small", form="module"): "pass\n"}))
    assert len(documents) == 1
    container = documents[0]["deploymentSpec"]["executors"]["exec-small"]["container"]
    assert not {"resources", "env"} & set(container)
    task = documents[0]["root"]["dag"]["tasks"]["small"]
    assert "retryPolicy" not in task
    assert task["cachingOptions"] == {"enableCache": True}


def test_with_an_image_the_components_are_thin(make_project: MakeProject) -> None:
    other = Resources(image="python:3.12")
    project = make_project(
        {
            step("thin", requirements=(Requirement("pandas==2.3.1", ""),)): "def thin():\n    pass\n",
            step("own", resources=other, requirements=(Requirement("pandas==2.3.1", ""),)): "def own():\n    pass\n",
        },
        image="registry.example/small:1",
    )
    executors = compiled(project)[0]["deploymentSpec"]["executors"]
    thin, own = executors["exec-thin"]["container"], executors["exec-own"]["container"]
    assert (thin["image"], own["image"]) == ("registry.example/small:1", "python:3.12")
    assert "pandas" not in thin["command"][2]
    assert "FILES" not in thin["command"][-1]
    assert "pandas" in own["command"][2]
    assert "FILES" in own["command"][-1]


def test_a_component_carries_the_files_that_it_needs_and_no_others(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("a", definitions=(Fragment(0, 1, ("class A: pass",)),), **gives("x")): "def a():\n    return 1\n",
            step("b", inputs=takes(x="a"), **gives("y")): "def b(x):\n    return x\n",
            step("c", inputs=takes(y="b"), shared=("helper",), **gives("z")): "def c(y):\n    return y\n",
            step("e", inputs=takes(z="c")): "def e(z):\n    pass\n",
            step("d"): "def d():\n    pass\n",
        }
    )
    executors = compiled(project)[0]["deploymentSpec"]["executors"]
    programs = {name: row["container"]["command"][-1] for name, row in executors.items()}
    carried = {
        name: [
            file
            for file in ("steps/a.py", "steps/b.py", "steps/c.py", "steps/e.py", "shared.py")
            if f"'small/{file}'" in text
        ]
        for name, text in programs.items()
    }
    assert carried == {
        "exec-a": ["steps/a.py"],
        "exec-b": ["steps/b.py"],
        "exec-c": ["steps/c.py", "shared.py"],
        "exec-e": ["steps/e.py", "shared.py"],
        "exec-d": [],
    }


def test_the_same_results_under_kfp_as_here(fares: Project) -> None:
    parameters = {"rows": "2", "scale": "2", "options": '{"n": 1, "f": 1.0}', "limit": "3", "verbose": "true"}
    here, there = fares.run(parameters), by_kfp(fares, parameters)
    assert outcome(there) == outcome(here)
    assert there.to_json().keys() == here.to_json().keys()
    started = [event.step for event in fares.events if event.kind == "started"]
    assert sorted(started) == sorted(["load", "train", "count", "report"] * 2)
    assert not (there.run_dir / "tmp").exists()


def test_a_failure_under_kfp_names_cell_and_line(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("good", **gives("x")): "def good():\n    return [1]\n",
            step("bad", cells=(5,), inputs=takes(x="good"), **gives("y")): """
                def bad(x):
                    print("here")
                    return x[9]
            """,
            step("late", inputs=takes(y="bad")): "def late(y):\n    pass\n",
        }
    )
    result = by_kfp(project)
    assert [item.status for item in result.steps] == ["succeeded", "failed", "skipped"]
    assert result.to_json()["error"] == {
        "step": "bad", "cell": 5, "line": 3, "message": "IndexError: list index out of range",
    }  # fmt: skip
    assert result.steps[1].stdout.read_text() == "here\n"
    assert (
        "step bad failed at cell 5 line 3: return x[9]"
        in (result.run_dir / "stderr").read_text() + (result.run_dir / "stdout").read_text()
    )


def test_nothing_is_installed_for_a_run_here(make_project: MakeProject) -> None:
    project = make_project(
        {step("s", form="module", requirements=(Requirement("no-such-package==9.9", ""),)): "print(1)\n"}
    )
    assert by_kfp(project).status == "succeeded"


@pytest.mark.parametrize(
    "text",
    [
        'a = "{{x}} {{$.inputs}}"', "a = '''q''' + \"\"\"d\"\"\"", r"a = '\n\\ \x41'", 'a = "ü 🙂"',
        "a = 'end\"'", "a = '''one\ntwo'''", "a = '{{{{'  # }}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("large", [False, True])
def test_the_code_arrives_as_it_is(make_project: MakeProject, text: str, large: bool) -> None:
    filling = "# " + "x" * 100_000 + "\n" if large else ""
    project = make_project({step("s", form="module"): f"{filling}{text}\n"})
    [spec] = compiled(project)
    program = spec["deploymentSpec"]["executors"]["exec-s"]["container"]["command"][-1]
    assert len(program.encode()) < 128 * 1024
    assert "{{x" not in program
    assert ("zlib" in program) is large
    namespace: dict[str, Any] = {}
    exec(program.partition("import pathlib, sys")[0], namespace)
    for name, content in namespace["FILES"].items():
        if name.endswith(".py"):
            assert content == (project.root / name).read_text()


def test_code_that_cannot_travel_is_refused(make_project: MakeProject) -> None:
    noise = "\n".join(f"# {os.urandom(60).hex()}" for _ in range(3000))
    project = make_project({step("s", form="module"): f"{noise}\n"})
    with pytest.raises(CompileError) as caught:
        compile(project.root)
    assert [(found.code, found.name) for found in caught.value.findings] == [("code-too-large", "s")]
    assert not (project.root / "pipeline.yaml").exists()


@pytest.mark.parametrize("code", ["syntax error here", "raise ValueError('broken')", "x = 1"])
def test_a_broken_pipeline_py_is_a_finding(fares: Project, code: str) -> None:
    old = compile(fares.root).read_bytes()
    (fares.root / "pipeline.py").write_text(code + "\n")
    with pytest.raises(CompileError) as caught:
        compile(fares.root)
    [found] = caught.value.findings
    assert found.code == "compile-failed"
    assert (fares.root / "pipeline.yaml").read_bytes() == old
    assert not list(fares.root.glob(".pipeline-*"))


def test_what_a_person_edited_is_compiled(fares: Project) -> None:
    path = fares.root / "pipeline.py"
    path.write_text(path.read_text().replace('set_display_name("load")', 'set_display_name("Load it")'))
    tasks = compiled(fares)[0]["root"]["dag"]["tasks"]
    assert tasks["load"]["taskInfo"]["name"] == "Load it"


def test_a_person_may_use_all_of_kfp(fares: Project) -> None:
    path = fares.root / "pipeline.py"
    plain = compile(fares.root).read_bytes()
    path.write_text(path.read_text() + "\nimport kfp\n\nCLIENT = kfp.Client\n")
    assert compile(fares.root).read_bytes() == plain


def test_names_that_collide(make_project: MakeProject) -> None:
    """Steps, parameters, artifacts and files of one name, and names that pipeline.py uses itself."""
    project = make_project(
        {
            step("pipeline", parameters=("run", "load"), **gives("df", "run_")): """
                def pipeline(run, load):
                    return [run, load], 1
            """,
            step("load", inputs=takes(df="pipeline"), files_out=("df",), **gives("df")): """
                def load(df):
                    open("df", "w").write("file")
                    return df + [0]
            """,
            step(
                "Input",
                inputs=(*takes(df="load"), Input("run_", "pipeline", "run_", "", "")),
                files_in=(InputFile("df", "load"),),
                parameters=("task",),
                **measures("label"),
            ): """
                def Input(df, run_, task):
                    print(df, run_, task, open("df").read())
                    return {"label": 1}
            """,
        },
        name="load",
        parameters=(parameter("run", "int", 5), parameter("load", "str", "l"), parameter("task", "float", 0.5)),
    )
    here, there = (
        run(project.root, {}, notebook_dir=project.notebook_dir, runs_dir=project.notebook_dir),
        by_kfp(project),
    )
    assert here.steps[2].stdout.read_text() == "[5, 'l', 0] 1 0.5 file\n"
    assert outcome(there) == outcome(here)


def test_names_of_many_kinds(make_project: MakeProject) -> None:
    project = make_project(
        {
            step("Größe", parameters=("_n", "N", "größe"), **gives("_x", "X")): """
                def Größe(_n, N, größe):
                    return _n, N + größe
            """,
            step("a_b", inputs=takes(_x="Größe"), **gives("y")): "def a_b(_x):\n    return _x\n",
            step("a__b", inputs=takes(X="Größe", y="a_b")): "def a__b(X, y):\n    print(X, y)\n",
        },
        name="Café_2",
        title='Käse "x" \\ {{y}}',
        parameters=(parameter("_n", "int", 1), parameter("N", "int", 10**12), parameter("größe", "float", 0.5)),
    )
    here, there = project.run(), by_kfp(project)
    assert here.steps[2].stdout.read_text() == "1000000000000.5 1\n"
    assert outcome(there) == outcome(here)


def test_extreme_numbers_and_text(make_project: MakeProject) -> None:
    defaults = {
        "big": ("int", 2**60 + 1), "tiny": ("float", 5e-324), "endless": ("float", float("inf")),
        "neg": ("int", -3), "text": ("str", 'a"b\'c\\d\n{{e}} $F `g` é'), "empty": ("str", ""),
        "nested": ("list", [{"k": (1, 2)}, None, True, 1.0]), "keys": ("dict", {1: 2.0, "a": []}),
    }  # fmt: skip
    names = ", ".join(defaults)
    project = make_project(
        {step("show", parameters=tuple(defaults)): f"def show({names}):\n    print(repr([{names}]))\n"},
        parameters=tuple(parameter(name, kind, value) for name, (kind, value) in defaults.items()),
    )
    here, there = project.run(), by_kfp(project)
    assert here.steps[0].stdout.read_text() == repr([value for _, value in defaults.values()]) + "\n"
    assert outcome(there) == outcome(here)


@pytest.mark.parametrize("image", [None, "registry.example/x:1"])
def test_pipeline_py_is_clean(make_project: MakeProject, image: str | None) -> None:
    project = make_project({step("alone", cells=(1, 2, 3, 7)): "def alone():\n    pass\n"}, image=image)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "100", "--extend-select", "E501,I"]
    subprocess.run([*command, "pipeline.py"], cwd=project.root, check=True)
    assert '"""Cells 1-3, 7 of the notebook."""' in (project.root / "pipeline.py").read_text()
    compile(project.root)


def test_one_artifact_name_from_two_steps(make_project: MakeProject) -> None:
    both = {
        "outputs": (Output("a", "ab", "", ""), Output("b", "ab", "", "")),
        "artifacts": (Artifact("ab", ("a", "b")),),
    }
    project = make_project(
        {
            step("first", **both): "def first():\n    x = [1]\n    return x, x\n",
            step("second", **both): "def second():\n    return 3, 4\n",
            step("use", inputs=(Input("a", "first", "ab", "", ""), Input("b", "second", "ab", "", ""))): """
                def use(a, b):
                    print(a, b)
            """,
            step("same", inputs=(Input("a", "first", "ab", "", ""), Input("b", "first", "ab", "", ""))): """
                def same(a, b):
                    print(a is b)
            """,
        }
    )
    here, there = project.run(), by_kfp(project)
    assert [item.stdout.read_text() for item in here.steps] == ["", "", "[1] 4\n", "True\n"]
    assert outcome(there) == outcome(here)


def test_a_file_at_a_fixed_path_between_steps_is_refused(make_project: MakeProject, tmp_path: Path) -> None:
    path = str(tmp_path / "x.txt")
    project = make_project(
        {
            step("w", form="module", files_out=(path, "gs://bucket/y")): f"open({path!r}, 'w').write('1')\n",
            step(
                "r", form="module", files_in=(InputFile(path, "w"), InputFile("gs://bucket/y", "w"))
            ): f"print(open({path!r}).read())\n",
        }
    )
    with pytest.raises(Nb2pipeError) as caught:
        compile(project.root)
    assert [(found.code, found.name) for found in caught.value.findings] == [("file-not-shared", path)]
    result = project.run()
    assert result.steps[1].stdout.read_text() == "1\n"


def test_what_is_not_distributed_yet_is_said(make_project: MakeProject) -> None:
    from nb2pipe.targets.base import read_map

    project = make_project({step("train", form="module", workers=4): "pass\n", step("rest", form="module"): "pass\n"})
    [found] = Kfp().unsupported(read_map(project.root)["pipeline"])
    assert (found.code, found.severity, found.name) == ("not-distributed", "warning", "train")
    compile(project.root)


def test_the_target_says_what_it_cannot_do(fares: Project) -> None:
    from nb2pipe.targets.base import read_map

    target, graph = Kfp(), read_map(fares.root)["pipeline"]
    assert target.unsupported(graph) == ()
    assert target.compile(fares.root) == fares.root / "pipeline.yaml"


def test_this_process_does_not_import_kfp() -> None:
    code = (
        "import sys, nb2pipe.targets.kfp, nb2pipe.targets.kfp_local, nb2pipe.targets.local; print('kfp' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
