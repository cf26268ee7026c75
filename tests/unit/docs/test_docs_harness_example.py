"""The example of an application with its tests, as its README says to run it; real brokers are left out."""

from __future__ import annotations

from docs_support import ROOT, run_pytest, run_python

EXAMPLE = ROOT / "examples" / "harness"


def test_its_tests_pass_on_the_embedded_broker() -> None:
    done = run_pytest(EXAMPLE, "--stomp-brokers", "embedded")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_its_unittest_runs_without_pytest() -> None:
    done = run_python(EXAMPLE, "-m", "unittest", "test_order_service_unittest")
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr


def test_its_readme_says_what_each_file_shows() -> None:
    text = (EXAMPLE / "README.md").read_text()
    assert [path.name for path in EXAMPLE.glob("*.py") if f"| `{path.name}` |" not in text] == []
