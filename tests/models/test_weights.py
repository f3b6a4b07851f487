"""Weights on disk: damage, NaN and another order of instruments are refused, and nothing else is."""

import json
import shutil
import zipfile

import numpy as np
import pytest

from muscomp_lib import separation
from muscomp_lib.core.errors import SettingError
from muscomp_lib.models import pretrained
from muscomp_lib.models.weights import read_arrays, read_weights, write_arrays, write_weights
from muscomp_lib.transcription import note_decoder

NAMES = ["bass", "drums"]
VALUES = {"one/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "two/bias": np.zeros(4, np.float32)}


def test_weights_are_read_as_written_and_by_numpy(tmp_path):
    path = tmp_path / "weights.npz"
    write_weights(path, VALUES, NAMES)
    for found in (read_weights(path, NAMES), np.load(path)):
        assert list(found) == list(VALUES)
        for name, value in VALUES.items():
            np.testing.assert_array_equal(found[name], value)
    first = path.read_bytes()
    write_weights(path, VALUES, NAMES)
    assert path.read_bytes() == first


def test_weights_for_other_instruments_or_another_order_are_refused(tmp_path):
    write_weights(tmp_path / "weights.npz", VALUES, NAMES)
    for names in (NAMES[::-1], ["bass"], ["bass", "violin"]):
        with pytest.raises(SettingError, match=r'trained for \["bass", "drums"\], in this order.*config\.json'):
            read_weights(tmp_path / "weights.npz", names)


def test_weights_of_earlier_versions_are_read(tmp_path):
    write_arrays(tmp_path / "weights.npz", VALUES)
    assert read_weights(tmp_path / "weights.npz", NAMES[::-1])


@pytest.mark.parametrize("value", [np.float32(np.nan), np.float32(np.inf), np.array("text"), np.complex64(1)])
def test_what_is_no_finite_number_is_neither_read_nor_written(tmp_path, value):
    write_arrays(tmp_path / "weights.npz", VALUES | {"two/bias": value})
    with pytest.raises(SettingError, match=r"weights\.npz: two/bias holds NaN.*fresh=True"):
        read_weights(tmp_path / "weights.npz", NAMES)
    with pytest.raises(SettingError, match="two/bias"):
        write_weights(tmp_path / "other.npz", VALUES | {"two/bias": value}, NAMES)
    assert not (tmp_path / "other.npz").exists()


def test_any_wrong_bit_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "weights.npz"
    write_weights(path, VALUES, NAMES)
    whole, refused = path.read_bytes(), 0
    for position in range(0, 8 * len(whole), 3):
        content = bytearray(whole)
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            found = read_weights(path, NAMES)
            assert all(np.array_equal(found.get(name), value) for name, value in VALUES.items())
        except SettingError:
            refused += 1
    assert refused > len(whole)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**7))
    with pytest.raises(SettingError, match="would unpack to 10 MB"):
        read_arrays(tmp_path / "bomb.npz")


@pytest.mark.parametrize(
    ("model", "opened"),
    [
        (pretrained.FOLDER, separation.Separator),
        (pretrained.TRANSCRIBER, lambda f: note_decoder.Transcriber(f)._network),
    ],
    ids=["separator", "transcriber"],
)
def test_a_changed_configuration_of_a_pretrained_model_is_refused(tmp_path, model, opened):
    folder = shutil.copytree(model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    names = config["instrument_list"]
    for changed, says in (([names[1], names[0], *names[2:]], "trained for"), (["../../x", *names[1:]], "cannot be")):
        (folder / "config.json").write_text(json.dumps(config | {"instrument_list": changed}))
        with pytest.raises(SettingError, match=says):
            opened(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(SettingError, match="holds list"):
        opened(folder)
