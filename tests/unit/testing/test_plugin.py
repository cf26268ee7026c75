"""The plugin for pytest, tried on test suites of its own; no container is started."""

from __future__ import annotations

import pytest

from stomplistener.testing import Broker

pytest_plugins = ["pytester"]

COMPOSE = """
services:
  activemq:
    image: mine:1
    ports: ["7000:61613"]
    x-stomp: {tcp: 61613}
  node:
    profiles: [cluster]
    image: mine:1
    ports: ["7001:61613"]
    x-stomp: {tcp: 61613}
  database:
    image: theirs:1
"""
MARKED = """
import pytest

@pytest.mark.stomp_brokers({names})
def test_it(stomp_broker, stomp_proxy):
    assert stomp_proxy.uri.startswith("tcp://127.0.0.1:")
    print("on", stomp_broker.name)
"""


@pytest.fixture(autouse=True)
def _alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine answers, and nothing is required."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{pytester.path}/none.sock")
    monkeypatch.delenv("STOMPLISTENER_REQUIRE_BROKERS", raising=False)
    pytester.makeini("[pytest]\naddopts = --strict-markers")


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a compose file."""
    pytester.makefile(".yml", **{"docker-compose": COMPOSE})
    return pytester


def test_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        queues = []

        def test_the_broker_is_embedded(stomp_broker, stomp_proxy, stomp_inbox, stomp_queue):
            assert stomp_broker.name == "embedded"
            assert stomp_proxy.port != stomp_broker.port
            assert stomp_broker.connections == stomp_inbox.messages == []
            stomp_broker.publish("/queue/a", "left")
            queues.append(stomp_queue)

        def test_each_test_has_its_own(stomp_broker, stomp_queue):
            assert not stomp_broker.messages("/queue/a")
            assert stomp_queue.startswith("/queue/test_each_test_has_its_own-")
            assert stomp_queue not in queues
    """)
    pytester.runpytest().assert_outcomes(passed=2)


def test_the_marker_runs_a_test_on_each_broker_that_it_names(suite: pytest.Pytester) -> None:
    suite.makepyfile(MARKED.format(names='"activemq", "embedded", "node"'))
    result = suite.runpytest("-v", "-rs")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_it?activemq? SKIPPED*",
            "*::test_it?embedded? PASSED*",
            "*::test_it?node? SKIPPED*",
            "*No real brokers: No Docker engine answers*install Docker*",
        ]
    )


def test_without_names_it_means_all_that_are_in_no_profile(suite: pytest.Pytester) -> None:
    suite.makepyfile(MARKED.format(names=""))
    result = suite.runpytest("--collect-only", "-q")
    result.stdout.fnmatch_lines(["*::test_it?embedded?", "*::test_it?activemq?", "2 tests collected*"])


def test_the_marker_of_a_test_goes_before_that_of_its_class(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest

        @pytest.mark.stomp_brokers("activemq")
        class TestOrders:
            def test_on_the_one_of_its_class(self, stomp_broker): ...

            @pytest.mark.stomp_brokers("embedded")
            def test_on_its_own(self, stomp_broker): ...

            def test_that_needs_none(self): ...
    """)
    suite.runpytest().assert_outcomes(passed=2, skipped=1)


def test_the_command_line_leaves_brokers_out(suite: pytest.Pytester) -> None:
    suite.makepyfile(MARKED.format(names='"activemq", "embedded"'))
    suite.runpytest("--stomp-brokers=embedded").assert_outcomes(passed=1)
    result = suite.runpytest("--stomp-brokers=node", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*for none of --stomp-brokers=node*"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('"activmq"', "*stomp_brokers: no broker activmq; there are embedded, activemq, node in *docker-compose.yml."),
        ("7", '*stomp_brokers takes names of brokers, as in stomp_brokers("embedded", "activemq"), or nothing.'),
        ('name="embedded"', "*stomp_brokers takes names of brokers*"),
    ],
)
def test_a_bad_marker_is_an_error_of_collection(suite: pytest.Pytester, names: str, message: str) -> None:
    suite.makepyfile(MARKED.format(names=names))
    result = suite.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*::test_it: {message.removeprefix('*')}"])
    result.stdout.no_fnmatch_line("*_names*")


def test_a_bad_name_on_the_command_line(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--stomp-brokers=embedded,rabbit")
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --stomp-brokers: no broker rabbit; there are embedded, activemq, node in *"])


def test_no_compose_file(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_named=MARKED.format(names='"activemq"'), test_all=MARKED.format(names=""))
    pytester.runpytest("test_all.py").assert_outcomes(passed=1)
    result = pytester.runpytest("test_named.py")
    result.stdout.fnmatch_lines(["*no broker activemq; there are embedded *stomp_compose_file*"])


@pytest.mark.parametrize("how", ["option", "ini-file"])
def test_the_compose_file_may_be_elsewhere(pytester: pytest.Pytester, how: str) -> None:
    place = pytester.mkdir("deploy") / "stack.yml"
    place.write_text(COMPOSE.replace("activemq:", "artemis:"))
    if how == "ini-file":
        with (pytester.path / "tox.ini").open("a") as ini:
            ini.write("\nstomp_compose_file = deploy/stack.yml\n")
    pytester.makepyfile(MARKED.format(names='"artemis"'))
    options = ["--stomp-compose-file=deploy/stack.yml"] if how == "option" else []
    pytester.runpytest(*options).assert_outcomes(skipped=1)


def test_a_compose_file_that_cannot_be_used(pytester: pytest.Pytester) -> None:
    (pytester.path / "bad.yml").write_text("services: {one: {image: x, x-stomp: {tcp: 61613}}}")
    pytester.makepyfile(MARKED.format(names='"one"'))
    result = pytester.runpytest("--stomp-compose-file=bad.yml")
    result.stdout.fnmatch_lines(["*::test_it: stomp_brokers: one in the compose file: x-stomp has tcp on port 61613*"])
    result.stdout.no_fnmatch_line("*_names*")
    result = pytester.runpytest("--stomp-compose-file=none.yml", "--stomp-brokers=one")
    result.stderr.fnmatch_lines(["ERROR: stomp_brokers: *No such file*none.yml*"])


def test_a_missing_engine_is_a_failure_where_brokers_are_required(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOMPLISTENER_REQUIRE_BROKERS", "1")
    suite.makepyfile(MARKED.format(names='"activemq", "embedded"'))
    result = suite.runpytest()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*No Docker engine answers*install Docker*STOMPLISTENER_REQUIRE_BROKERS=1*"])


def test_without_the_extra_real_brokers_are_left_out(suite: pytest.Pytester) -> None:
    suite.makeconftest("import sys; sys.modules.update(yaml=None, docker=None)")
    suite.makepyfile(MARKED.format(names=""))
    result = suite.runpytest_subprocess("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*pip install 'stomplistener?docker?'*"])


UNITTEST = """
import unittest
import pytest

@pytest.mark.stomp_brokers({names})
class OrdersTest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _a_broker(self, stomp_broker):
        self.broker = stomp_broker

    def test_it(self):
        self.assertEqual(self.broker.name, "embedded")
"""


def test_a_unittest_runs_on_the_broker_that_its_marker_names(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_one=UNITTEST.format(names='"embedded"'), test_real=UNITTEST.format(names='"activemq"'))
    suite.runpytest().assert_outcomes(passed=1, skipped=1)
    suite.runpytest("--stomp-brokers=activemq").assert_outcomes(skipped=2)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ('"embedded", "activemq"', "*runs on one broker, not on embedded, activemq: name one in its stomp_brokers*"),
        ('"activmq"', "*no broker activmq; there are*"),
    ],
)
def test_a_bad_marker_of_a_unittest_is_an_error_of_collection(suite: pytest.Pytester, names: str, message: str) -> None:
    suite.makepyfile(UNITTEST.format(names=names))
    result = suite.runpytest()
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *OrdersTest::test_it: {message}"])


FAKE = """
import pytest
from stomplistener.testing.containers import BrokerContainer

class Fake(BrokerContainer):
    name = "activemq"

    def __init__(self, failing=False):
        self.failing = failing

    def logs(self, tail=None):
        if self.failing:
            raise OSError("no engine")
        return "heap is full"
"""


def test_the_logs_are_in_the_report_of_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(FAKE)
    pytester.makepyfile("""
        import pytest
        from conftest import Fake

        @pytest.fixture
        def cluster():
            return [Fake(), Fake(failing=True)]

        def test_fails(cluster):
            assert not cluster

        def test_passes(cluster):
            assert cluster
    """)
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*log of activemq*", "heap is full", "*log of activemq*", "not available: no engine"])
    assert result.stdout.str().count("heap is full") == 1


def test_an_inbox_shows_in_the_failure_what_did_arrive(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from stomplistener import Connection

        def test_it(stomp_broker, stomp_inbox):
            with Connection(stomp_broker.uri) as connection:
                connection.subscribe("/queue/orders", stomp_inbox)
                connection.send("/queue/orders", "a pizza")
                stomp_inbox.expect(2, 0.5)
    """)
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *TimedOut: expected 2 messages within 0.5 s; got 1: *a pizza*"])


def test_the_plugin_brings_no_broker_into_a_run_that_has_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_that_fails():
            assert not sys.modules

        def test_it():
            loaded = {name for name in sys.modules if name.startswith("stomplistener")}
            assert loaded == {"stomplistener", "stomplistener.testing", "stomplistener.testing.plugin"}
    """)
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=1, failed=1)


def test_the_embedded_broker_says_what_it_is() -> None:
    assert Broker().name == "embedded"


def test_a_failure_shows_the_line_of_the_test_and_none_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_expect(stomp_inbox):
            stomp_inbox.expect(1, 0.01)

        def test_wait_for(stomp_broker):
            stomp_broker.wait_for(lambda: False, 0.01)
    """)
    result = pytester.runpytest()
    result.assert_outcomes(failed=2)
    shown = result.stdout.str()
    assert shown.count("test_a_failure_shows_the_line_of_the_test_and_none_of_ours.py") >= 2
    for name in ("inbox.py", "watch.py", "broker.py"):
        assert name not in shown


STRICT = """
    import threading
    from stomplistener import Connection

    def test_a_listener_that_raises(stomp_strict, stomp_broker):
        with Connection(stomp_broker.uri) as connection:
            connection.subscribe("/queue/a", lambda message: 1 / 0, confirm=True)
            connection.send("/queue/a", "x", confirm=True)
            stomp_broker.wait_for(lambda: not stomp_broker.depth("/queue/a"))

    def test_a_thread_that_dies(stomp_strict):
        thread = threading.Thread(target=lambda: {}["missing"], name="mine")
        thread.start()
        thread.join()

    def test_one_that_is_expected(stomp_strict, stomp_broker):
        test_a_listener_that_raises(stomp_strict, stomp_broker)
        stomp_strict.expect("ZeroDivisionError")

    def test_one_that_is_expected_and_does_not_come(stomp_strict):
        stomp_strict.expect("ZeroDivisionError")

    def test_that_is_well(stomp_strict, stomp_broker):
        with Connection(stomp_broker.uri) as connection:
            connection.send("/queue/a", "x", confirm=True)
"""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_strict_test_fails_by_what_goes_wrong_behind_its_back(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(STRICT)
    result = pytester.runpytest("-p", "no:threadexception")
    # Two fail in the end of the fixture, one in itself.
    result.assert_outcomes(passed=4, errors=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*errors that the test did not see: *<lambda> raised on MESSAGE *",
            "*ZeroDivisionError*",
            "*the thread mine died*",
        ]
    )


def test_one_broker_for_the_whole_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.fixture(scope="module")
        def filled(stomp_session_broker):
            stomp_session_broker.publish("/queue/a", "x")
            return stomp_session_broker

        def test_one(filled, stomp_session_broker):
            assert filled.depth("/queue/a") == 1

        def test_two(stomp_session_broker):
            assert stomp_session_broker.depth("/queue/a") == 1
    """)
    pytester.runpytest().assert_outcomes(passed=2)
