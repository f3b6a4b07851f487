"""The models that can be chosen by name."""

from fixtures import tiny_spleeter

from muscomp_lib.core.root import Root
from muscomp_lib.models import pretrained, published
from muscomp_lib.separation import available


def test_models_here_and_models_to_fetch_are_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSCOMP_CACHE", str(tmp_path / "cache"))
    root = Root(tmp_path)
    tiny_spleeter.model(root.models / "mine", ["drums", "the rest"], **tiny_spleeter.OURS)
    (root.models / "notes").mkdir()
    (root.models / "notes" / "config.json").write_text((pretrained.TRANSCRIBER / "config.json").read_text())
    (root.models / "notes" / "weights.npz").touch()
    (root.models / "unfinished").mkdir()
    for name, config in (("training", root.models / "mine"), ("learning notes", root.models / "notes")):
        (root.models / name).mkdir()
        (root.models / name / "config.json").write_text((config / "config.json").read_text())
    spleeters = tiny_spleeter.model(root.models / "spleeters").parent
    (spleeters / "checkpoint").unlink()
    (root.models / "broken").mkdir()
    (root.models / "broken" / "config.json").write_text("{")
    here = tmp_path / "cache" / "spleeter" / "v1.4.0" / "4stems"
    here.mkdir(parents=True)
    (here / published.MARK).touch()

    table = available.table(root)
    assert table["makes"].tolist()[:3] == ["stems", "notes", "what a query asks for"]
    own = table[table["licence"] == ""]
    assert own[["name", "makes", "instruments"]].to_numpy().tolist()[0] == ["mine", "stems", "drums, the rest"]
    assert own["name"].tolist() == ["mine", "notes"] and own["makes"].tolist() == ["stems", "notes"]
    assert table["name"].tolist() == ["shipped", "shipped", "shipped", "mine", "notes", *published.NAMES]
    where = table.set_index("name")["where"]
    assert where["spleeter:4stems"] == where["spleeter:4stems-16kHz"] == "here"
    assert where["spleeter:2stems"] == "fetched at its first use, about 79 MB"

    labels = available.separators(root)
    assert list(labels.values()) == ["shipped", "mine", *published.NAMES]
    assert "spleeter:4stems" in labels and "mine" in labels
    costly = next(label for label, name in labels.items() if name == "spleeter:5stems")
    assert costly.startswith("spleeter:5stems (fetched at its first use, about 197 MB; licence MIT for Spleeter's code")


def test_without_a_root_there_are_still_the_others(tmp_path):
    assert len(available.models(Root(tmp_path / "none"))) == 3 + len(published.NAMES)
    assert not (tmp_path / "none").exists()
