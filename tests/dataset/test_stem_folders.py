import unicodedata

import pytest

from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.root import open_root
from muscomp_lib.dataset import stem_folders


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def found(folder, **options):
    """{song: {instrument: [path]}}, with the mixes as "mix"."""
    songs = stem_folders.find(folder, **options).songs
    return {
        song.name: {name: [stem.path for stem in stems] for name, stems in song.stems.items()}
        | ({"mix": [mix.path for mix in song.mixes]} if song.mixes else {})
        for song in songs
    }


def test_file_names_are_instruments_at_any_depth(tmp_path):
    touch(tmp_path, "2021/Demos/Song/01 Lead Vox.wav", "2021/Demos/Song/Song_Bass.aiff", "2021/Demos/Song/mix.mp3")
    assert found(tmp_path) == {
        "Song": {
            "Bass": ["2021/Demos/Song/Song_Bass.aiff"],
            "Lead_Vocals": ["2021/Demos/Song/01 Lead Vox.wav"],
            "mix": ["2021/Demos/Song/mix.mp3"],
        }
    }


@pytest.mark.parametrize(
    ("file", "instrument"),
    [
        ("Drums", "Drums"),
        ("03 - Keys", "Keys"),
        ("Song - Keys", "Keys"),
        ("song_keys", "keys"),
        ("song_kick in", "Drums"),
        ("808", "808"),
        ("Songbird", "Songbird"),
        ("Flügel", "Flugel"),
        ("Große Trommel", "Grosse_Trommel"),
        ("02 Chœur – Łódź", "Choir_Lodz"),
        ("OTHER", "other"),
        ("Gtr (L)", "Guitar"),
        ("Mixture", "mix"),
        ("Song", "mix"),
        ("MASTER", "mix"),
        ("Stereo Out", "mix"),
        ("Rough_Mix", "mix"),
    ],
)
def test_a_file_name_becomes_the_name_of_an_instrument(tmp_path, file, instrument):
    touch(tmp_path, f"Song/{file}.wav", "Song/another.wav")
    assert set(found(tmp_path)["Song"]) == {instrument, "another"}


@pytest.mark.parametrize("file", ["東京", "Флейта 1", "μπάσο DI"])
def test_a_name_in_other_letters_is_reported(tmp_path, file):
    touch(tmp_path, f"Song/{file}.wav", "Song/bass.wav")
    (song,) = stem_folders.find(tmp_path).songs
    assert f"Song/{file}.wav: '{file}' cannot be an instrument's name. Give it one in stems.yaml" in song.note
    (tmp_path / "Song/bass.wav").rename(tmp_path / "bass")
    with pytest.raises(MissingError, match=rf"no song with stems.*Song: Song/{file}.wav: .* in stems.yaml"):
        stem_folders.find(tmp_path)
    (tmp_path / "bass").rename(tmp_path / "Song/bass.wav")
    (tmp_path / "stems.yaml").write_text(f'lead: "*{file}*"', encoding="utf-8")
    assert set(found(tmp_path)["Song"]) == {"bass", "lead"}


def test_a_suffix_that_is_there_twice_is_no_name(tmp_path):
    touch(tmp_path, "Song/Song.mp3.mp3", "Song/Drums.wav.wav", "Song/Bass.mp3.WAV", "Song/Vox.wav")
    assert set(found(tmp_path)["Song"]) == {"mix", "Drums", "Bass", "Vocals"}


def test_patterns_fit_however_accents_are_stored(tmp_path):
    touch(tmp_path, f"Song/{unicodedata.normalize('NFD', 'Batería')} 1.wav", "Song/bass.wav")
    (tmp_path / "stems.yaml").write_text(f'drums: "{unicodedata.normalize("NFC", "batería")}*"', encoding="utf-8")
    assert set(found(tmp_path)["Song"]) == {"bass", "drums"}


@pytest.mark.parametrize("suffix", [".stem.mp4", ".STEM.MP4", ".stem.m4a"])
def test_a_file_of_streams_holds_four_stems(tmp_path, suffix):
    touch(tmp_path, f"A. B{suffix}")
    (song,) = stem_folders.find(tmp_path).songs
    assert song.name == "A. B" and song.stems["drums"] == ((f"A. B{suffix}", 1),)


def test_abbreviations_in_several_songs_are_one_instrument(tmp_path):
    touch(tmp_path, *(f"{song}/{name}.wav" for song in "AB" for name in ("Bass", "Vox")))
    touch(tmp_path, "A/Gtr.wav", "B/Guitar.wav", "C/gitarre.wav", "C/BASS.wav", "C/Voz.wav")
    assert {name for stems in found(tmp_path).values() for name in stems} == {"Bass", "Guitar", "Vocals"}


def test_a_beginning_that_all_files_share_is_no_instrument(tmp_path):
    touch(tmp_path, *(f"Song/my_track v2{end}.wav" for end in ("", "_Drums", "_Bass", "_Insert 10", "_Master")))
    touch(tmp_path, "Other/Lead Synth.wav", "Other/Lead Guitar.wav")
    assert {name: set(stems) for name, stems in found(tmp_path).items()} == {
        "Song": {"Drums", "Bass", "Insert_10", "mix"},
        "Other": {"Lead_Synth", "Lead_Guitar"},
    }


@pytest.mark.parametrize("folder", ["H/Stems", "H/2024/Bounces"])
def test_a_file_called_like_its_folders_is_a_mix(tmp_path, folder):
    touch(tmp_path, *(f"{folder}/{name}.wav" for name in ("H", "H_master", "Drums", "H Bass")))
    (stems,) = found(tmp_path).values()
    assert set(stems) == {"mix", "Drums", "Bass"} and len(stems["mix"]) == 2


def test_a_number_before_the_songs_title_is_left_out(tmp_path):
    touch(tmp_path, "Song/1_Song_(Vocals).wav", "Song/1_Song_(Instrumental).wav", "Two/2. Two - Gtr.wav")
    assert {name: set(stems) for name, stems in found(tmp_path).items()} == {
        "Song": {"Vocals", "Instrumental"},
        "Two": {"Guitar"},
    }


def test_songs_that_are_links_are_songs(tmp_path):
    folder = tmp_path / "chosen"
    folder.mkdir()
    for song in ("One", "Two"):
        (tmp_path / "all" / song).mkdir(parents=True)
        for name in ("bass.wav", "drums.wav"):
            (tmp_path / "all" / song / name).touch()
        (folder / song).symlink_to(tmp_path / "all" / song)
    assert [song.name for song in stem_folders.find(folder).songs] == ["One", "Two"]


def test_a_folder_that_is_missing_is_reported_as_missing(tmp_path):
    with pytest.raises(MissingError, match="songs: it is not a folder"):
        stem_folders.find(tmp_path / "songs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": 2021}, r"stems = 2021 .* a folder \(in quotes"),
        ({"names_file": ["a.yaml"]}, "stem_names = .* a YAML file"),
        ({"wanted": "Drums,Bass"}, r"instruments = 'Drums,Bass' .* a list of names: \[\"Drums\", \"Bass\"\]"),
    ],
)
def test_parameters_of_other_kinds_are_refused(tmp_path, options, message):
    touch(tmp_path, "Song/Drums.wav", "Song/Bass.wav")
    with pytest.raises(SettingError, match=message):
        stem_folders.find(options.get("folder", tmp_path), options.get("names_file")).instruments(options.get("wanted"))


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_title_is_found_however_accents_are_stored(tmp_path, forms):
    folder, title = (unicodedata.normalize(form, "Käse") for form in forms)
    touch(tmp_path, f"{folder}/{title}_Drums.wav", f"{folder}/{title}_Bass.wav")
    assert set(found(tmp_path)["Käse"]) == {"Drums", "Bass"}


@pytest.mark.parametrize("mix", ["mix.wav", "Mix/{song}.wav", "Bounced Files/mix.wav"])
def test_a_folder_called_stems_is_no_instrument(tmp_path, mix):
    touch(tmp_path, *(f"{song}/Stems/{name}.wav" for song in "AB" for name in ("Drums", "Bass")))
    touch(tmp_path, *(f"{song}/{mix.format(song=song)}" for song in "AB"))
    songs = {song.source: set(song.stems) for song in stem_folders.find(tmp_path).songs if song.stems}
    assert songs == {"A/Stems": {"Drums", "Bass"}, "B/Stems": {"Drums", "Bass"}}


def test_a_song_is_not_called_like_its_folder_of_stems(tmp_path):
    touch(tmp_path, *(f"{song}/Stems/{name}.wav" for song in "AB" for name in ("Drums", "Bass")))
    assert set(found(tmp_path)) == {"A", "B"}


@pytest.mark.parametrize("mix", ["A/Master.wav", "A/A.wav", "A/mix.wav", "A/Mix/A.wav", "A/Bounces/A_final mix.wav"])
def test_a_mix_beside_a_folder_of_stems_is_theirs(tmp_path, mix):
    touch(tmp_path, mix, "A/Stems/Drums.wav", "A/Stems/Bass.wav", "B/Stems/Drums.wav", "B/Stems/mix.wav", "C/mix.wav")
    songs = {song.source: song for song in stem_folders.find(tmp_path).songs}
    assert [each.path for each in songs["A/Stems"].mixes] == [mix]
    assert songs["A/Stems"].name == "A" and set(songs["A/Stems"].stems) == {"Drums", "Bass"}
    assert [each.path for each in songs["B/Stems"].mixes] == ["B/Stems/mix.wav"]
    assert set(songs) == {"A/Stems", "B/Stems", "C"} and songs["C"].note == "it has no stems"


@pytest.mark.parametrize(
    ("mix", "folder"),
    [
        ("Tune.wav", "Tune"),
        ("Tune_Final Mix.wav", "Tune/Stems"),
        ("Tune.mp3", "Tune (Stems)"),
        ("train/Tune.wav", "train/Tune"),
        ("Tune/Tune.wav", "Tune/Tune Stems"),
        ("Tune/mix.wav", "Tune/stems_audio"),
        ("Tune/mix.wav", "Tune/WAV 24bit"),
        ("Tune/mix.wav", "Tune/Other Title Stems"),
        ("Artist_Tune_Full_Preview.mp3", "Artist_Tune_Full"),  # Cambridge-MT
        ("Artist_Tune_Full/Artist_Tune_UnmasteredWAV.wav", "Artist_Tune_Full/Artist_Tune_Full"),
        ("mixes/Tune.wav", "stems/Tune"),
        ("mixes/Tune.wav", "stems/Tune Stems"),
        ("2021/Mixdowns/Tune_master.wav", "2021/Multitracks/Tune"),
    ],
)
def test_a_mix_named_like_the_folder_beside_is_theirs(tmp_path, mix, folder):
    touch(tmp_path, mix, f"{folder}/1_Drums.wav", f"{folder}/2_Bass.wav", "Second/Drums.wav", "Second/Vox.wav")
    songs = [song for song in stem_folders.find(tmp_path).songs if song.name != "Second" and song.stems]
    assert [(set(song.stems), song.source) for song in songs] == [({"Drums", "Bass"}, folder)]
    assert "Other" in folder or [each.path for each in songs[0].mixes] == [mix]


def test_a_mix_beside_the_only_folder_is_its_mix(tmp_path):
    touch(tmp_path, "Master.wav", "Stems/Drums.wav", "Stems/Bass.wav")
    assert found(tmp_path) == {"Stems": {"Bass": ["Stems/Bass.wav"], "Drums": ["Stems/Drums.wav"],
                                         "mix": ["Master.wav"]}}  # fmt: skip


def test_a_folder_of_mixes_inside_a_song_is_its_mix(tmp_path):
    touch(tmp_path, "A/Drums.wav", "A/Bass.wav", "A/Mix/A.wav")
    assert found(tmp_path)["A"]["mix"] == ["A/Mix/A.wav"] and len(found(tmp_path)) == 1


SIDES = [
    *[(".L", ".R"), ("_L", "_R"), ("-L", "-R"), (" left", " right"), (" (L)", " (R)"), ("L", "R"), ("Left", "Right")],
    *[(" Lft", " Rt"), ("_lt", "_rt"), ("Lft", "Rgt"), (" links", " rechts"), (" gauche", " droite")],
]


@pytest.mark.parametrize(("left", "right"), SIDES)
def test_two_channels_in_two_files_are_one_instrument(tmp_path, left, right):
    touch(tmp_path, f"Song/Drums{left}.wav", f"Song/Drums{right}.wav", "Song/Bass.wav")
    assert found(tmp_path)["Song"]["Drums"] == sorted([f"Song/Drums{left}.wav", f"Song/Drums{right}.wav"])


@pytest.mark.parametrize("name", ["Gtr {} {}", "Gtr{}{}", "Gtr_{}_0{}", "Gtr {} {}.dup1"])
def test_several_pairs_of_channels_are_as_many_instruments(tmp_path, name):
    files = {(side, number): f"Song/{name.format(side, number)}.wav" for side in "LR" for number in (1, 2)}
    touch(tmp_path, *files.values(), "Song/Bass.wav")
    stems = {tuple(its) for instrument, its in found(tmp_path)["Song"].items() if instrument.startswith("Guitar")}
    assert stems == {(files["L", number], files["R", number]) for number in (1, 2)}


@pytest.mark.parametrize("beside", ["Bass.wav", "Bass/R.wav", "Bass/Right.wav", "Bass/DI.wav", "mix.wav"])
def test_a_folder_with_two_channels_is_an_instrument(tmp_path, beside):
    touch(tmp_path, "Song/Drums/L.wav", "Song/Drums/R.wav", f"Song/{beside}")
    assert found(tmp_path)["Song"]["Drums"] == ["Song/Drums/L.wav", "Song/Drums/R.wav"]


@pytest.mark.parametrize(("file", "instrument"), [("Aux", "Aux_1"), ("NUL", "NUL_1"), ("Con", "Con_1")])
def test_no_instrument_has_a_name_that_windows_reserves(tmp_path, file, instrument):
    touch(tmp_path, f"Song/{file}.wav", "Song/Bass.wav")
    assert set(found(tmp_path)["Song"]) == {instrument, "Bass"}


@pytest.mark.parametrize("name", ["stems.yml", "Stems.YAML"])
def test_the_file_of_names_may_be_called_otherwise(tmp_path, name):
    touch(tmp_path, "Song/Kick.wav", "Song/Bass.wav")
    (tmp_path / name).write_text("Kick: kick\n")
    assert set(found(tmp_path)["Song"]) == {"Bass", "Kick"}


def test_a_file_of_names_goes_before_abbreviations(tmp_path):
    touch(tmp_path, "Song/Gtr.wav", "Song/Vox.wav")
    (tmp_path / "stems.yaml").write_text("Solo: gtr\n")
    assert set(found(tmp_path)["Song"]) == {"Solo", "Vocals"}


def test_songs_of_equal_names_stay_two(tmp_path):
    touch(tmp_path, "A/Intro/bass.wav", "A/Intro/drums.wav", "B/intro/bass.wav", "B/Outro/bass.wav")
    assert set(found(tmp_path)) == {"A - Intro", "B - intro", "Outro"}


def test_spellings_that_differ_in_case_are_one_instrument(tmp_path):
    touch(tmp_path, "A/drums.wav", "A/bass.wav", "B/Drums.wav", "B/bass.wav", "C/Drums.wav")
    folder = stem_folders.find(tmp_path)
    assert folder.counts() == {"Drums": 3, "bass": 2}


def test_of_one_stem_in_two_formats_one_is_used(tmp_path):
    touch(tmp_path, "Song/bass.mp3", "Song/bass.wav", "Song/drums.ogg")
    assert found(tmp_path)["Song"] == {"bass": ["Song/bass.wav"], "drums": ["Song/drums.ogg"]}


def test_a_file_of_names_groups_and_renames(tmp_path):
    touch(tmp_path, *(f"Song/{name}.wav" for name in ("Kick In", "snare_top", "Bass DI", "noise", "Print", "Harp")))
    names = tmp_path / "stems.yaml"
    names.write_text('drums: ["kick*", "snare*"]\nbass: bass*\nmix: print\nignore: [noise]\n')
    assert found(tmp_path)["Song"] == {
        "Harp": ["Song/Harp.wav"],
        "bass": ["Song/Bass DI.wav"],
        "drums": ["Song/Kick In.wav", "Song/snare_top.wav"],
        "mix": ["Song/Print.wav"],
    }
    moved = names.rename(tmp_path / "elsewhere.yaml")
    assert "noise" in found(tmp_path)["Song"]
    assert "noise" not in found(tmp_path, names_file=moved)["Song"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tuba: [tuba*]", r"none of its patterns fits a file. The stems are called bass, drums"),
        ("[drums]", "holds no names"),
        ("drums: 5", "drums: 5 is not a list of file names"),
        ("a/b: [x]", "'a/b' cannot be an instrument's name"),
    ],
)
def test_a_wrong_file_of_names_is_refused(tmp_path, text, message):
    touch(tmp_path, "Song/bass.wav", "Song/drums.wav")
    (tmp_path / "stems.yaml").write_text(text)
    with pytest.raises(SettingError, match=message):
        stem_folders.find(tmp_path)


def test_folders_of_instruments_belong_to_their_song(tmp_path):
    touch(tmp_path, *(f"{song}/{name}/{song}{name}.wav" for song in "XY" for name in ("drums", "bass")))
    touch(tmp_path, "X/drums/second.wav", "Z/mix.wav", "Z/vocals/a.wav")
    assert found(tmp_path) == {
        "X": {"bass": ["X/bass/Xbass.wav"], "drums": ["X/drums/Xdrums.wav", "X/drums/second.wav"]},
        "Y": {"bass": ["Y/bass/Ybass.wav"], "drums": ["Y/drums/Ydrums.wav"]},
        "Z": {"vocals": ["Z/vocals/a.wav"], "mix": ["Z/mix.wav"]},
    }


def test_folders_that_are_mostly_instruments_belong_to_their_song(tmp_path):
    touch(tmp_path, "A/Drums/Kick.wav", "A/Drums/Snare.wav", "A/Vocals/Lead.wav", "A/FX/Riser.wav")
    touch(tmp_path, "B/bass/0f3c.wav", "B/vocals/a1b2.wav", "B/bowed_strings/77aa.wav")
    songs = {name: set(held) for name, held in found(tmp_path).items()}
    assert songs == {"A": {"Drums", "Vocals", "FX"}, "B": {"bass", "Vocals", "bowed_strings"}}


def test_a_folder_of_an_instruments_stems_is_that_instrument(tmp_path):
    touch(tmp_path, "A/mix.wav", "A/Drum Stems/Kick.wav", "A/Vocal Stems/Lead.wav")
    assert set(found(tmp_path)["A"]) == {"Drum", "Vocals", "mix"}


def across(*folders, songs=("SongA", "SongB"), file="{song}"):
    return [f"{folder}/{file.format(song=song, folder=folder)}.wav" for folder in folders for song in songs]


@pytest.mark.parametrize(
    ("folders", "stems"),
    [
        (("Drums", "Bass"), {"Drums", "Bass"}),
        (("Batterie", "Vox", "Mix"), {"Drums", "Vocals", "mix"}),
        (("Kick", "E-Gitarre", "Mixtures"), {"Drums", "Electric_Guitar", "mix"}),
        (("01 Drums", "02 Bass", "FX"), {"Drums", "Bass", "FX"}),
        (("vocals", "Instrumental"), {"vocals", "Instrumental"}),
    ],
)
def test_folders_per_instrument_hold_a_file_per_song(tmp_path, folders, stems):
    touch(tmp_path, *across(*folders))
    assert {song: set(held) for song, held in found(tmp_path).items()} == {"SongA": stems, "SongB": stems}


@pytest.mark.parametrize("file", ["{song}_{folder}", "{song} ({folder})", "{folder} - {song}"])
def test_the_folders_instrument_is_no_part_of_titles(tmp_path, file):
    touch(tmp_path, *across("Drums", "Bass", file=file))
    stems = {"Drums", "Bass"}
    assert {song: set(held) for song, held in found(tmp_path).items()} == {"SongA": stems, "SongB": stems}


def test_titles_may_end_with_an_instrument(tmp_path):
    touch(tmp_path, *across("Drums", "Bass", songs=["Talking Drums", "Big Bass"]))
    songs = {song: set(held) for song, held in found(tmp_path).items()}
    assert songs["Talking Drums"] == {"Drums", "Bass"} and len(songs) == 2


def test_mixes_beside_folders_per_instrument_are_their_songs(tmp_path):
    touch(tmp_path, *across("Drums", "Bass"), "SongA.wav", "SongB_mix.wav", "Drums/SongA.mp3")
    songs = found(tmp_path)
    assert songs["SongA"] == {"Bass": ["Bass/SongA.wav"], "Drums": ["Drums/SongA.wav"], "mix": ["SongA.wav"]}
    assert songs["SongB"]["mix"] == ["SongB_mix.wav"] and len(songs) == 2


def test_folders_per_instrument_may_hold_partitions(tmp_path):
    touch(tmp_path, *across("Drums/train", "Bass/train"), *across("Drums/test", "Bass/test", songs=["SongC"]))
    songs = {song.name: (song.partition, set(song.stems)) for song in stem_folders.find(tmp_path).songs}
    stems = {"Drums", "Bass"}
    assert songs == {"SongA": ("train", stems), "SongB": ("train", stems), "SongC": ("test", stems)}


def test_folders_per_instrument_may_lie_in_partitions(tmp_path):
    touch(tmp_path / "train", *across("Drums", "Bass"), "Drums/SongD.wav")
    touch(tmp_path / "test", *across("Drums", "Bass", songs=["SongC"]))
    songs = {song.name: song for song in stem_folders.find(tmp_path).songs}
    assert {name: song.partition for name, song in songs.items()} == {
        "SongA": "train", "SongB": "train", "SongD": "train", "SongC": "test",
    }  # fmt: skip
    assert songs["SongC"].stems == {"Bass": (("test/Bass/SongC.wav", 0),), "Drums": (("test/Drums/SongC.wav", 0),)}


def test_songs_beside_folders_per_instrument_stay_songs(tmp_path):
    touch(tmp_path, *across("Drums", "Bass"), "SongC/drums.wav", "SongC/bass.wav")
    songs = {song: set(held) for song, held in found(tmp_path).items()}
    assert songs == {"SongA": {"Drums", "Bass"}, "SongB": {"Drums", "Bass"}, "SongC": {"Drums", "Bass"}}


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        (("Queen", "Muse"), ("Intro", "Outro")),  # of artists
        (("Piano", "Strings"), ("drums", "bass")),  # songs with titles that are instruments
        (("Piano", "Strings"), ("Flute", "mix", "Guitar")),
        (("Piano", "Violin"), ("Close", "DI")),  # microphones
        (("Mix", "Master"), ("SongA", "SongB")),
    ],
)
def test_folders_that_are_no_instruments_stay_songs(tmp_path, folders, files):
    touch(tmp_path, *across(*folders, songs=files))
    assert set(found(tmp_path)) == set(folders)


@pytest.mark.parametrize("file", ["{song}_{name}", "{song} - {name}", "{song}-{name}"])
def test_files_of_several_songs_in_one_folder_are_theirs(tmp_path, file):
    songs = {"SongA": ["drums", "bass"], "My Song": ["drums", "bass", "Lead Vox", "mix"]}
    touch(tmp_path / "train", *(f"{file.format(song=song, name=name)}.wav" for song in songs for name in songs[song]))
    touch(tmp_path / "train", "SongA.wav")
    made = {song.name: song for song in stem_folders.find(tmp_path).songs}
    assert {name: set(song.stems) for name, song in made.items()} == {
        "SongA": {"drums", "bass"}, "My Song": {"drums", "bass", "Lead_Vocals"},
    }  # fmt: skip
    assert all(song.partition == "train" and len(song.mixes) == 1 for song in made.values())


@pytest.mark.parametrize(
    ("files", "stems"),
    [
        ("{number}_{song}_({stem})", ("Vocals", "Instrumental")),  # Ultimate Vocal Remover
        ("{song}_({stem})_model_bs_roformer_ep_317_sdr_12.9755", ("Vocals", "Instrumental")),  # audio-separator
        ("{song}_{stem}_split_by_lalalai", ("vocals", "no_vocals")),
        ("{song}-{stem}-C major-12{number}bpm-440hz", ("vocals", "drums", "bass", "other")),  # Moises
    ],
)
def test_separators_songs_in_one_folder_are_distinguished(tmp_path, files, stems):
    for number, song in enumerate(("Artist - Song", "Tune")):
        touch(tmp_path, f"{song}.mp3", *(files.format(number=number, song=song, stem=stem) + ".wav" for stem in stems))
    songs = {name: set(held) for name, held in found(tmp_path).items()}
    assert len(songs) == 2 and all(held - {"mix"} == set(stems) for held in songs.values())


@pytest.mark.parametrize(
    ("files", "songs"),
    [
        (["Tune 01 Drums", "Tune 01 Bass", "Tune 02 Drums", "Tune 02 Bass"], {"Tune 01", "Tune 02"}),
        (["A_01_Drums", "A_02_Bass", "B_01_Drums", "B_02_Bass"], {"A", "B"}),
        (["A_Drums", "A_Bass", "A_Riser", "A_click", "B_Drums", "B_Bass", "B_Riser"], {"A", "B"}),
        (
            [f"{song}({stem}_Custom)" for song in ("A_One", "A_Two") for stem in ("Drums", "Bass", "Click")],
            {"A_One", "A_Two"},
        ),
        (
            [
                f"A_{song}({stem}_Custom_Backing_Track)"
                for song in ("One", "Two")
                for stem in ("Drum_Kit", "Bass", "Click")
            ],
            {"A_One", "A_Two"},
        ),
        (
            [f"Album_0{song}_0{n}_{stem}" for song in (1, 2) for n, stem in ((1, "Drums"), (2, "Bass"))],
            {"Album_01", "Album_02"},
        ),
        ([f"CSD_{song}_{stem}_1" for song in ("ER", "LI") for stem in ("soprano", "alto")], {"CSD_ER", "CSD_LI"}),
        ([f"{song} ({stem})" for song in ("One", "Two") for stem in ("Acapella", "Instrumentals")], {"One", "Two"}),
        (["01_mix", "01_Drums", "02_mix", "02_Violin", "02_Piano"], {"01", "02"}),  # AAM
        (["Wave1_02#MIX", "Wave1_02#HH", "Wave1_02#KD", "Wave1_03#MIX", "Wave1_03#SD"], {"Wave1_02", "Wave1_03"}),
    ],
)
def test_data_sets_songs_in_one_folder_are_distinguished(tmp_path, files, songs):
    touch(tmp_path, *(f"{name}.wav" for name in files))
    assert set(found(tmp_path)) == songs


def test_the_drums_of_idmt_are_distinguished_by_patterns(tmp_path):
    touch(tmp_path, *(f"Wave1_0{number}#{name}.wav" for number in "12" for name in ("MIX", "KD", "SD")))
    (tmp_path / "stems.yaml").write_text('Kick: ["*#kd*"]\nSnare: ["*#sd*"]\n')
    stems = {"Kick", "Snare", "mix"}
    assert {song: set(held) for song, held in found(tmp_path).items()} == {"Wave1_01": stems, "Wave1_02": stems}


@pytest.mark.parametrize(
    "files",
    [
        ["Lead Gtr", "Lead Vox", "Backing Gtr", "Backing Vox"],
        ["Left Gtr", "Left Keys", "Right Gtr", "Right Keys"],
        ["Take1_Drums", "Take1_Bass", "Take2_Drums", "Take2_Bass"],
        ["Anna Vox", "Anna Gtr", "Ben Vox", "Ben Gtr", "Drums"],
        ["Neumann Kick", "Neumann Snare", "Shure Kick", "Shure Snare"],
        ["Song_Drums", "Song_Bass", "Song_Loop 1", "Song_Insert 2"],
        ["Piano Room", "Piano Overheads", "Viola Room", "Viola Overheads"],
    ],
)
def test_files_of_one_song_stay_one_song(tmp_path, files):
    touch(tmp_path / "Song", *(f"{name}.wav" for name in files))
    assert set(found(tmp_path)) == {"Song"}


def test_first_folders_name_the_partition(tmp_path):
    usual = stem_folders.VALIDATION[0]
    touch(tmp_path, "train/A/bass.wav", "Valid/B/bass.wav", "test/C/bass.wav", "live/D/bass.wav")
    touch(tmp_path, f"train/{usual}.stem.mp4")
    partitions = {song.name: song.partition for song in stem_folders.find(tmp_path).songs}
    assert partitions == {"A": "train", "B": "validation", "C": "test", "D": "", usual: "validation"}


@pytest.mark.parametrize("around", ["", "corpora/DSD100/"])
def test_the_dev_songs_of_dsd100_are_trained_on(tmp_path, around):
    places = ("Dev/A", "Dev/B", "Test/C")
    touch(tmp_path / around, *(f"Sources/{place}/{name}.wav" for place in places for name in ("bass", "drums")))
    touch(tmp_path / around, *(f"Mixtures/{place}/mixture.wav" for place in places))
    songs = {
        song.source: (song.partition, [mix.path for mix in song.mixes]) for song in stem_folders.find(tmp_path).songs
    }
    partitions = dict(zip(places, ("train", "train", "test"), strict=True))
    assert songs == {
        f"{around}Sources/{place}": (partition, [f"{around}Mixtures/{place}/mixture.wav"])
        for place, partition in partitions.items()
    }


def test_medleydb_names_its_stems_in_its_metadata(tmp_path):
    song = tmp_path / "Artist_Song"
    touch(song, "Artist_Song_MIX.wav", "Artist_Song_STEMS/Artist_Song_STEM_01.wav", "Artist_Song_RAW/a/raw.wav")
    touch(song, "Artist_Song_STEMS/Artist_Song_STEM_02.wav")
    stem = "  S0{0}: {{instrument: {1}, filename: Artist_Song_STEM_0{0}.wav, component: '', raw: {{}}}}\n"
    (song / "Artist_Song_METADATA.yaml").write_text(
        "mix_filename: Artist_Song_MIX.wav\nstem_dir: Artist_Song_STEMS\nstems:\n"
        + stem.format(1, "electric bass") + stem.format(2, "drum set")
    )  # fmt: skip
    assert found(tmp_path)["Artist_Song"] == {
        "drums": ["Artist_Song/Artist_Song_STEMS/Artist_Song_STEM_02.wav"],
        "electric_bass": ["Artist_Song/Artist_Song_STEMS/Artist_Song_STEM_01.wav"],
        "mix": ["Artist_Song/Artist_Song_MIX.wav"],
    }


MEDLEY = """\
mix_filename: {0}_MIX.wav
stem_dir: {0}_STEMS
stems: {{S01: {{instrument: electric bass, filename: {0}_STEM_01.wav}}}}
"""


def medley_song(folder, song):
    touch(folder / song, f"{song}_MIX.wav", *(f"{song}_STEMS/{song}_STEM_0{number}.wav" for number in (1, 2)))
    touch(folder / song, *(f"{song}_RAW/{song}_RAW_01_0{number}.wav" for number in (1, 2)))


def test_medleydbs_metadata_may_lie_in_a_folder_of_their_own(tmp_path):
    for song in ("Artist_Song", "Artist_Tune"):
        medley_song(tmp_path / "Audio", song)
    touch(tmp_path, *(f"Metadata/{song}_METADATA.yaml" for song in ("Artist_Song", "Artist_Tune", "Artist_Absent")))
    for path in tmp_path.glob("Metadata/*"):
        path.write_text(MEDLEY.format(path.name.removesuffix("_METADATA.yaml")))
    songs = {name: set(held) for name, held in found(tmp_path).items()}
    assert songs == {song: {"electric_bass", "mix"} for song in ("Artist_Song", "Artist_Tune")}


def test_medleydb_without_metadata_is_reported(tmp_path):
    medley_song(tmp_path, "Artist_Song")
    with pytest.raises(MissingError, match=r"put Artist_Song_METADATA.yaml into Artist_Song"):
        stem_folders.find(tmp_path)


@pytest.mark.parametrize("folder", ["train/Track00001", "babyslakh_16k/Track00001"])
def test_slakhs_numbered_stems_are_no_instruments(tmp_path, folder):
    touch(tmp_path / folder, "mix.wav", "all_src.mid", "metadata.yaml", "stems/S00.wav", "stems/S01.wav")
    with pytest.raises(MissingError, match=r"S00.wav.*is Slakh, put it into slakh/ under the root"):
        stem_folders.find(tmp_path)
    (tmp_path / "stems.yaml").write_text("Bass: S00\nDrums: S01\n")
    assert set(found(tmp_path)["Track00001"]) == {"Bass", "Drums", "mix"}


@pytest.mark.parametrize(
    "text", ["stems: 5", "", "stems: {S01: {instrument: bass, filename: ../../x.wav}}\nstem_dir: s"]
)
def test_wrong_metadata_leave_their_song_out(tmp_path, text):
    touch(tmp_path, "Good/bass.wav", "Bad/x.wav")
    (tmp_path / "Bad" / "Bad_METADATA.yaml").write_text(text)
    songs = {song.name: song for song in stem_folders.find(tmp_path).songs}
    assert songs["Bad"].note and not songs["Good"].note


def test_songs_prepared_in_a_root_beside_are_no_songs(tmp_path):
    root = open_root(tmp_path / "muscomp_root")
    touch(tmp_path, "Song/bass.wav", "Song/drums.wav")
    touch(root.prepared, "train/Song/bass.flac", "train/Song/drums.flac")
    assert set(found(tmp_path)) == {"Song"} and set(found(root.prepared)) == {"Song"}


@pytest.mark.parametrize("clips", ["Samples/Imported", "Samples/Recorded", "Media", "Audio Files"])
def test_a_projects_clips_beside_its_stems_are_left_out(tmp_path, clips):
    touch(tmp_path / "Song", "Stems/Drums.wav", "Stems/Bass.wav", f"{clips}/kick 808.wav", f"{clips}/Audio 1.wav")
    songs = {song.source: song for song in stem_folders.find(tmp_path).songs if song.stems or song.note}
    assert set(songs.pop("Song/Stems").stems) == {"Drums", "Bass"}
    assert {song.note for song in songs.values()} == {"it holds clips of a project, whose stems are in Song/Stems"}
    touch(tmp_path / "Other", f"{clips}/Drums.wav", f"{clips}/Bass.wav")
    others = [song for song in stem_folders.find(tmp_path).songs if song.source.startswith("Other")]
    assert {"Drums", "Bass"} in [set(song.stems) for song in others]


def test_songs_that_were_separated_beside_are_no_stems(tmp_path, caplog):
    touch(tmp_path, "Song/bass.wav", "Song/drums.wav")
    touch(tmp_path / "separated" / "Other", "Violin.flac", "other.flac", "separation.json")
    assert set(found(tmp_path)) == {"Song"} and str(tmp_path / "separated") in caplog.text
    assert set(found(tmp_path / "separated")) == {"Other"}


def test_hidden_and_system_files_are_no_songs(tmp_path):
    touch(tmp_path, "__MACOSX/Song/bass.wav", ".trash/Song/bass.wav", "Song/._bass.wav", "Song/notes.txt")
    with pytest.raises(MissingError, match="no song with stems"):
        stem_folders.find(tmp_path)
    touch(tmp_path, "Song/mix.wav")
    with pytest.raises(MissingError, match="no song with stems"):
        stem_folders.find(tmp_path)
