"""The settings of the website: nothing is open to others unless somebody says so."""

import pytest

from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.root import Root
from muscomp_lib.website.server import offered
from muscomp_lib.website.settings import PASSWORD, Settings


def test_other_machines_are_let_in_only_on_purpose(monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(SettingError, match="lets other machines in"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", open=True).trusted_hosts == ["*"]
    assert Settings(host="0.0.0.0", password="tune").secret == "tune"
    monkeypatch.setenv(PASSWORD, "melody")
    assert Settings(host="0.0.0.0").secret == "melody"


def test_only_this_machines_names_are_answered_by_default():
    assert set(Settings().trusted_hosts) >= {"127.0.0.1", "localhost"}
    assert Settings(hosts="a.example, B.Example").trusted_hosts == ["a.example", "b.example"]


@pytest.mark.parametrize("name", ["https://a.example", "a.example:8000", "a.example/songs", "a.example,"])
def test_a_host_that_no_browser_sends_is_refused(name):
    with pytest.raises(SettingError, match=r"--hosts: '.*' is not the name of a machine"):
        Settings(hosts=name)


def test_the_models_that_are_offered_can_be_chosen(tmp_path):
    root = Root(tmp_path)
    assert offered(None, root)[0][1].name == "shipped" and len(offered(None, root)) > 1
    assert [model.name for _, model in offered("spleeter:2stems, shipped", root)] == ["spleeter:2stems", "shipped"]
    with pytest.raises(SettingError, match="--models: there is no 'spleter'"):
        offered("spleter", root)
    with pytest.raises(SettingError, match="--models names none"):
        offered(" ,", root)
