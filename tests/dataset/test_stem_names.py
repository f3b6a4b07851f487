"""Names of stems as music programs and people write them, song by song."""

import pytest

from muscomp_lib.dataset.stem_names import Namer, shared

SONGS = {
    "no title": {"Guitar Clean": "Guitar_Clean", "Guitar Lead": "Guitar_Lead", "Guitar Acoustic": "Guitar_Acoustic"},
    "numbers": {"bass 1": "bass_1", "bass 2": "bass_2", "bass 3": "bass_3"},
    "takes": {"Take 1": "Take_1", "Take 2": "Take_2", "Take 3": "Take_3"},
    "title before it": {"Song Gtr Lead": "Guitar_Lead", "Song Gtr Solo": "Guitar_Solo", "Song Gtr": "Guitar"},
    "instrument in the title": {"Piano Man_Drums": "Drums", "Piano Man_Bass": "Bass", "Piano Man_Vox": "Vocals"},
    "title ends with one": {"Waiting Room_Drums": "Drums", "Waiting Room_Bass": "Bass", "Waiting Room_Vox": "Vocals"},
    "REAPER": {"Song-001-Drums": "Drums", "Song-002-Bass": "Bass", "Song-003-Keys": "Keys"},
    "Logic": {"Drums_bip": "Drums", "Bass_bip": "Bass", "Keys_bip": "Keys"},
    "FL Studio": {"Song_Drums": "Drums", "Song_Insert 10": "Insert_10", "Song_Master": "mix", "Song": "mix"},
    "loops": {"Song_Drums_120bpm_Cmaj": "Drums", "Song_Bass_120bpm_Cmaj": "Bass", "Song_Vox_120bpm_Cmaj": "Vocals"},
    "mix beside them": {"Drums_24bit": "Drums", "Bass_24bit": "Bass", "Vox_24bit": "Vocals", "mix": "mix"},
    "mix like them": {"Song_Drums 120 bpm": "Drums", "Song_Bass 120 bpm": "Bass", "Song_Vox 120 bpm": "Vocals",
                      "Song 120 bpm": "mix"},
    "instrument at the end": {"Lead Gtr": "Lead_Guitar", "Solo Gtr": "Solo_Guitar", "Gtr": "Guitar"},
    "folder's name": {"Piano.L": "Piano", "Piano.R": "Piano", "Violin": "Violin"},
    "multitrack": {"01_KickIn": "Drums", "02_Kick Out": "Drums", "03_SnareTop": "Drums", "04_Snare Bottom": "Drums",
                   "05_Hat": "Drums", "06_OH L": "Drums", "07_Tom 1": "Drums", "08_Room": "Drums", "09_BassDI": "Bass",
                   "10_Bass Amp": "Bass", "11_ElecGtr DI": "Electric_Guitar", "12_LeadVox": "Lead_Vocals"},
    "bass drum": {"Bass Drum": "Drums", "Bassdrum in": "Drums", "Bass": "Bass", "Bass Drum Loop": "Bass_Drum_Loop"},
    "Pro Tools": {"Kick.dup1": "Drums", "Ld Vox.dup12": "Lead_Vocals", "Bass": "Bass", "Keys.dup1": "Keys"},
    "no kit": {"Tom Vox": "Tom_Vocals", "Vocal Room": "Vocals_Room", "Drum Loop": "Drum_Loop", "DI": "DI",
               "drums": "drums"},
    "numbers with zeros": {"Vox 01": "Vocals_1", "Vox 2": "Vocals_2", "Gtr 010": "Guitar_10", "808": "808"},
    "microphones": {"ElecGtr1DI": "Electric_Guitar_1", "ElecGtr1Mic1": "Electric_Guitar_1", "BassMic2": "Bass",
                    "Gtr Amp 2": "Guitar", "Drum Kit": "Drums"},
    "two files": {"2021-03 Tune_vocals": "vocals", "2021-03 Tune_instrumental": "instrumental"},
    "Karaoke Version": {f"Artist_Song({name}_Custom_Backing_Track)": instrument for name, instrument in
                        {"Drum_Kit": "Drums", "Lead_Vocal": "Lead_Vocals", "Click": "ignore"}.items()},
    "URMP": {"AuSep_1_vn_44_K515": "violin", "AuSep_2_vn_44_K515": "violin", "AuSep_3_tba_44_K515": "tuba",
             "AuMix_44_K515_vn_vn_tba": "mix", "Vid_44_K515_vn_vn_tba": "mix"},
    "German": {"E-Gitarre": "Electric_Guitar", "A-Git": "Acoustic_Guitar", "E-Bass": "Electric_Bass", "E.Guitar 2":
               "Electric_Guitar_2", "Ac Gtr": "Acoustic_Guitar"},
    "track numbers": {"Kick_01": "Drums", "Bass_02": "Bass", "Gtr_03": "Guitar", "Gtr_04": "Guitar",
                      "Master_05": "mix"},
    "numbers by hand": {"Gtr 1": "Guitar_1", "Gtr 2": "Guitar_2", "Vox 1": "Vocals_1"},
    "strings of a guitar": {"12 Str Gtr": "12_String_Guitar", "Str 1": "Strings_1", "Bass": "Bass"},
    "numbers alone": {"Audio 1": "Audio_1", "Audio 2": "Audio_2", "Bass 3": "Bass_3"},
    "Japanese": {"ドラム": "drums", "ベース": "bass", "エレキギター": "electric_guitar", "ヴァイオリン": "violin"},
    "Brazilian": {"Violão": "Acoustic_Guitar", "Órgão": "Organ", "Metais": "Brass", "Ld Voz": "Lead_Vocals"},
    "numbers before the title": {"01 - Tune - Drums": "Drums", "02 - Tune - Bass": "Bass", "03 - Tune - Vox": "Vocals",
                                 "04 - Tune": "mix"},
    "a number in the title": {"99 Days_Drums": "Drums", "99 Days_Bass": "Bass", "99 Days_Vox": "Vocals",
                              "99 Days": "mix"},
    "copies of mixes": {"Drums": "Drums", "Bass": "Bass", "Mix (1)": "mix", "Master_v2": "mix",
                        "Bass Mix 2": "Bass_Mix_2"},
    "names of mixes": {"Drums": "Drums", "Main": "mix", "Master Print": "mix", "2Bus": "mix", "(Final Master)": "mix",
                       "Ref_Track": "mix", "Main Vox": "Main_Vocals", "Bus 1": "Bus_1", "Vox Print": "Vocals_Print"},
    "Cubase": {"Group - Drums": "Group_Drums", "Stereo Out - Stereo Out": "mix", "Output - Stereo Out": "mix"},
    "choir": {"Sopran 1": "Soprano_1", "Alt": "Alt", "Tenöre": "Tenor", "Chor": "Choir"},
    "no music": {"Drums": "Drums", "Bass": "Bass", "01 Click": "ignore", "Metronome": "ignore", "ClickTrack": "ignore",
                 "Clicky Synth": "Clicky_Synth"},
    "bounced in place": {"Drums_bip": "Drums", "Lead Vox_bip": "Lead_Vocals", "Keys_bip_1": "Keys", "Bass": "Bass",
                         "Gtr (Bounced) 2": "Guitar", "Pad-consolidated": "Pad", "Hook.cm": "Hook", "Bip": "Bip"},
    "parts of clips": {"Bass_01-03": "Bass", "Kick_01-01": "Drums", "Gtr 1.dup2.cm": "Guitar_1", "Keys": "Keys"},
    "times of the day": {"Freeze Kick [2021-03-01 123456]": "Drums", "Freeze Bass [2021-03-01 123501]": "Bass",
                         "Freeze Keys [2021-03-01 123512]": "Keys"},
    "REAPER's takes": {"01-Kick-240101_1200": "Drums", "02-Bass-240101_1201": "Bass", "Vox-01-glued": "Vocals_1"},
    "numbers in brackets": {"Kick(1)": "Drums", "Bass(2)": "Bass", "Vocals (3)": "Vocals"},
    "run on": {"Gtr1": "Guitar_1", "ElecGtr2DI": "Electric_Guitar_2", "Gtr 1": "Guitar_1", "Room Mics": "Drums",
               "808": "808", "SM7": "SM7", "Vox3": "Vocals_3"},
    "French": {"Grosse caisse": "Drums", "Caisse_Claire": "Drums", "Charley": "Drums", "Cymbales": "Drums",
               "Clavier": "Keys", "Accordéon": "Accordion"},
    "Spanish": {"Bombo": "Drums", "Caja": "Drums", "Platillos": "Drums", "Bajo": "Bass", "Acordeón": "Accordion"},
    "Italian": {"Cassa": "Drums", "Rullante": "Drums", "Piatti": "Drums", "Cori": "Backing_Vocals"},
    "electric": {"El. Gtr": "Electric_Guitar", "El Bass": "Electric_Bass", "Hotel Bass": "Hotel_Bass"},
    "two channels": {"Piano L 1": "Piano_1", "Piano R 1": "Piano_1", "Piano L 2": "Piano_2", "Alt Gtr": "Alt_Guitar",
                     "Gtr Part": "Guitar_Part", "RT": "RT"},
    "a mixer's": {"KD": "Drums", "SNR Side": "Drums", "Drm Rm": "Drums", "ELGTR": "Electric_Guitar",
                  "AGit": "Acoustic_Guitar", "BG Vox": "Backing_Vocals", "BkVox": "Backing_Vocals", "Brs": "Brass",
                  "Hrn 1": "Horn_1"},
    "Japanese kit": {"キック": "Drums", "スネア": "Drums", "ハイハット": "Drums", "グロッケン": "glockenspiel"},
    "with umlauts": {"Querflöte": "Flute", "Querfloete 2": "Flute_2", "Blechbläser": "Brass"},
    "Russian": {"Ударные": "Drums", "Бас": "Bass", "Гитара 2": "Guitar_2", "Флейта": ""},
}  # fmt: skip


@pytest.mark.parametrize("case", SONGS)
def test_a_songs_files_are_named_by_instruments(case):
    namer, texts = Namer(None), list(SONGS[case])
    common = shared([text for text in texts if namer.of(text) != "mix"], title="Piano")
    assert {text: namer.of(text, *common) for text in texts} == SONGS[case]
