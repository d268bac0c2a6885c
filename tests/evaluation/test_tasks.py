"""Each task reads its data set's official layout; what is missing, wrong or another data set is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from evaluation.task import Clip, DataSet
from evaluation.tasks import SUITES, TASKS, LayoutError
from tests.evaluation.layouts import LAYOUTS, noise, speech_commands_test_set, write


def made(name: str, root: Path) -> DataSet:
    LAYOUTS[name](root)
    return TASKS[name].open(root)


def facts(clip: Clip) -> tuple[object, ...]:
    return (clip.path.stem, *clip.labels, clip.split or clip.fold, clip.source)


# Written by hand from the layouts: (name, classes, split or fold, source) of telling clips.
EXPECTED: dict[str, list[tuple[object, ...]]] = {
    "esc50": [("2-102435-A-22", "clapping", 2, "102435"), ("5-203128-B-0", "dog", 5, "203128")],
    "fsd50k": [
        ("64760", "Electric guitar", "Guitar", "Music", "train", ""),
        ("237", "Accelerating and revving and vroom", "val", ""),
        ("175151", "Bark", "Dog", "Domestic animals and pets", "test", ""),
    ],
    "urbansound8k": [
        ("100652-3-0-1", "dog bark", 2, "100652"),
        ("100648-1-0-0", "car horn", 10, "100648"),
        ("102305-6-0-0", "gun shot", 1, "102305"),
    ],
    "dcase2017-task4": [
        ("Y-CZ1LIc8aos_20.000_30.000", "Air horn, truck horn", "Truck", "train", "Y-CZ1LIc8aos"),
        ("Y-E4ibE2tnFw_30.000_40.000", "Car alarm", "val", "Y-E4ibE2tnFw"),
        ("Y-fCSO8SVWZU_6.000_16.000", "Train", "Train horn", "test", "Y-fCSO8SVWZU"),
    ],
    "audioset": [
        ("Y--PJHxphWEs", "Speech", "Music", "train", "--PJHxphWEs"),
        ("Y--U7joUcTCo", "Male speech, man speaking", "Speech", "test", "--U7joUcTCo"),
    ],
    "gtzan-music-speech": [("bagpipe", "music", 0, ""), ("acomic", "speech", 0, "")],
    "gtzan-genres": [("blues.00000", "blues", 0, ""), ("jazz.00002", "jazz", 0, "")],
    "mridangam-stroke": [("229275__akshaylaya__tha-dsh-002", "tha", 0, "")],
    "mridangam-tonic": [("229275__akshaylaya__tha-dsh-002", "D#", 0, "")],
    "beijing-opera": [("4477__ajaysm__xiaoluo-02", "xiaoluo", 0, "")],
    "tut2017": [
        ("b020_90_100", "beach", "train", "b020"),
        ("b061_0_10", "cafe or restaurant", "val", "b061"),
        ("3", "city center", "test", "243"),
    ],
    "crema-d": [("1003_DFA_SAD_XX", "sad", 0, "1003")],
    "ravdess": [("03-02-05-01-01-01-04", "angry", 0, "Actor_04"), ("03-01-01-01-01-01-02", "neutral", 0, "Actor_02")],
    "speech-commands": [
        ("0a7c2a8d_nohash_0", "unknown", "train", "0a7c2a8d"),
        ("004ae714_nohash_0", "yes", "val", "004ae714"),
        ("012c8314_nohash_0", "no", "test", "012c8314"),
        ("white_noise", "silence", "train", "white_noise"),
        ("running_tap", "silence", "val", "running_tap"),
    ],
    "speech-commands-35": [("0132a06d_nohash_1", "marvin", "train", "0132a06d")],
    "vocalsound": [
        ("f1099_0_throatclearing", "throat clearing", "val", "f1099"),
        ("m0084_0_cough", "cough", "test", "m0084"),
    ],
    "libricount": [("10_1", "10", 0, ""), ("0_0", "0", 0, "")],
}
CLIPS = {
    "esc50": 12, "fsd50k": 8, "urbansound8k": 7, "dcase2017-task4": 6, "audioset": 5, "gtzan-music-speech": 10,
    "gtzan-genres": 9, "mridangam-stroke": 7, "mridangam-tonic": 7, "beijing-opera": 8, "tut2017": 8, "crema-d": 15,
    "ravdess": 20, "speech-commands": 14, "speech-commands-35": 8, "vocalsound": 8, "libricount": 8,
}  # fmt: skip


def test_the_paper_has_sixteen_tasks() -> None:
    assert len(SUITES["paper"]) == 16
    assert set(EXPECTED) == set(CLIPS) == set(LAYOUTS) == set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_layout_is_read_as_it_is_written(name: str, tmp_path: Path) -> None:
    found = made(name, tmp_path)
    assert len(found.clips) == CLIPS[name]
    assert [fact for fact in EXPECTED[name] if fact not in map(facts, found.clips)] == []
    assert not found.missing
    assert not found.strangers


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_data_set_is_found_in_a_folder_of_data_sets(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path / "mine")
    assert len(TASKS[name].open(tmp_path).clips) == CLIPS[name]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_official_class_list_is_whole(name: str, tmp_path: Path) -> None:
    classes = TASKS[name].classes
    if callable(classes):  # the list comes with the data set
        LAYOUTS[name](tmp_path)
        classes = classes(tmp_path)
    else:
        assert len(classes) == TASKS[name].class_count
    assert len(set(classes)) == len(classes)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_few_clips_are_marked_as_a_part(name: str, tmp_path: Path) -> None:
    assert " of " in made(name, tmp_path).partial


def test_a_whole_copy_is_not_marked(tmp_path: Path) -> None:
    for number in range(64):
        (tmp_path / "music_wav").mkdir(exist_ok=True)
        (tmp_path / "speech_wav").mkdir(exist_ok=True)
        (tmp_path / f"music_wav/{number}.wav").touch()
        (tmp_path / f"speech_wav/{number}.wav").touch()
    assert TASKS["gtzan-music-speech"].open(tmp_path).partial == ""


@pytest.mark.parametrize("name", sorted(TASKS))
def test_an_empty_folder_is_answered_with_the_tree_that_was_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as error:
        TASKS[name].open(tmp_path)
    assert all(line in str(error.value) for line in TASKS[name].layout.splitlines())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_other_data_set_is_taken_for_this_one(name: str, tmp_path: Path) -> None:
    same_files = {"mridangam", "speech"}
    for other in LAYOUTS:
        if other.split("-")[0] not in same_files & {name.split("-")[0]} and other != name:
            LAYOUTS[other](tmp_path / other)
    with pytest.raises(LayoutError, match="does not hold"):
        TASKS[name].open(tmp_path)


def test_a_recording_the_table_names_and_the_disk_lacks_is_named(tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    (tmp_path / "ESC-50-master/audio/5-181766-A-10.wav").unlink()
    found = TASKS["esc50"].open(tmp_path)
    assert found.missing == ("5-181766-A-10.wav",)
    assert len(found.clips) == 11
    assert "rain" not in found.classes


def test_a_table_without_its_recordings_is_an_error(tmp_path: Path) -> None:
    LAYOUTS["urbansound8k"](tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    with pytest.raises(LayoutError, match=r"none of its 7 recordings exists \(the first is 100032-3-0-0.wav\)"):
        TASKS["urbansound8k"].open(tmp_path)


def test_a_re_encoded_recording_keeps_its_name(tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    path = tmp_path / "ESC-50-master/audio/5-181766-A-10.wav"
    path.rename(path.with_suffix(".ogg"))
    assert TASKS["esc50"].open(tmp_path).missing == ()


def test_a_class_name_that_is_not_in_the_list_is_named_and_left_out(tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    table = tmp_path / "ESC-50-master/meta/esc50.csv"
    table.write_text(table.read_text().replace("10,rain", "10,rian"))
    found = TASKS["esc50"].open(tmp_path)
    assert found.strangers == ("5-181766-A-10.wav: 'rian'",)
    assert len(found.clips) == 11


def test_one_class_alone_is_an_error_for_any_guess_would_be_right(tmp_path: Path) -> None:
    for name in ("4477__ajaysm__bangu-01", "4477__ajaysm__bangu-02"):
        noise(tmp_path / f"{name}.wav")
    with pytest.raises(LayoutError, match="every clip is 'bangu'"):
        TASKS["beijing-opera"].open(tmp_path)


def test_a_copy_without_its_test_split_is_an_error(tmp_path: Path) -> None:
    LAYOUTS["fsd50k"](tmp_path)
    (tmp_path / "FSD50K.ground_truth/eval.csv").unlink()
    with pytest.raises(LayoutError, match="no clip of the test split exists, only 3 train, 1 val"):
        TASKS["fsd50k"].open(tmp_path)


def test_silence_is_cut_from_the_background_in_half_overlapping_seconds(tmp_path: Path) -> None:
    clips = [clip for clip in made("speech-commands", tmp_path).clips if clip.label == "silence"]
    starts = {
        name: [clip.start_s for clip in clips if clip.path.stem == name] for name in ("running_tap", "white_noise")
    }
    assert starts == {"running_tap": [0.0, 0.5, 1.0], "white_noise": [0.0, 0.5, 1.0]}


def test_the_official_test_set_of_speech_commands_takes_the_place_of_the_list(tmp_path: Path) -> None:
    speech_commands_test_set(tmp_path)
    found = made("speech-commands", tmp_path)
    assert Counter(clip.label for clip in found.test) == {"yes": 1, "no": 1, "silence": 1, "unknown": 1}
    assert {clip.path.parents[1].name for clip in found.test} == {"speech_commands_test_set_v0.02"}


def test_speech_commands_without_lists_have_no_split(tmp_path: Path) -> None:
    LAYOUTS["speech-commands"](tmp_path)
    for name in ("validation_list.txt", "testing_list.txt"):
        (tmp_path / "speech_commands_v0.02" / name).unlink()
    assert {clip.split for clip in TASKS["speech-commands"].open(tmp_path).clips} == {""}


def test_dcase_without_its_evaluation_set_is_tested_on_the_testing_set(tmp_path: Path) -> None:
    LAYOUTS["dcase2017-task4"](tmp_path)
    (tmp_path / "groundtruth_weak_label_evaluation_set.csv").unlink()
    found = TASKS["dcase2017-task4"].open(tmp_path)
    assert [clip.path.stem for clip in found.test] == ["Y-E4ibE2tnFw_30.000_40.000"]


def test_dcase_is_read_in_the_tree_of_its_authors(tmp_path: Path) -> None:
    parts = {
        "testing": ("unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads", 488),
        "evaluation": ("evaluation_set_formatted_audio_segments", 1_103),
    }
    for name, (folder, count) in parts.items():
        (tmp_path / folder).mkdir()
        # Every fiftieth id begins with Y itself.
        videos = [f"{'Y' if number % 50 == 0 else '-'}{name[:4]}{number:06d}" for number in range(count)]
        rows = [f"{video}_30.000_40.000.wav\t30.000\t40.000\t{'Bus' if video < 'A' else 'Car'}" for video in videos]
        write(tmp_path / f"groundtruth_release/groundtruth_weak_label_{name}_set.csv", *rows)
        for video in videos:
            (tmp_path / folder / f"Y{video}_30.000_40.000.wav").touch()
    found = TASKS["dcase2017-task4"].open(tmp_path)
    assert Counter(clip.split for clip in found.clips) == {"val": 488, "test": 1_103}
    assert not found.missing
    assert found.test[0].path.name == "YYeval000000_30.000_40.000.wav"


def test_tables_may_be_latin_1_or_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    LAYOUTS["esc50"](tmp_path)
    table = tmp_path / "ESC-50-master/meta/esc50.csv"
    text = table.read_text()
    table.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(TASKS["esc50"].open(tmp_path).clips) == 12
    table.write_bytes(text.replace("5-203128-B-0.wav", "5-203128-é.wav").encode("latin-1"))
    assert TASKS["esc50"].open(tmp_path).missing == ("5-203128-é.wav",)


def test_a_table_of_another_kind_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "meta/esc50.csv", "name,label", "a.wav,dog")
    with pytest.raises(LayoutError, match=r"esc50\.csv has no column 'filename'"):
        TASKS["esc50"].open(tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "text"),
    [
        ("esc50", "ESC-50-master/meta/esc50.csv", "filename,fold,category,src_file\n1-1-A-0.wav,one,dog,1\n"),
        ("fsd50k", "FSD50K.ground_truth/vocabulary.csv", "Bark\n"),
        ("audioset", "eval_segments.csv", "--4gqARaEJE\n"),
        ("dcase2017-task4", "groundtruth_weak_label_testing_set.csv", "a.wav,0,10,Car\n"),
        ("tut2017", "TUT-acoustic-scenes-2017-evaluation/meta.txt", "audio/1.wav\n"),
        ("vocalsound", "datafiles/te.json", "{"),
        ("vocalsound", "datafiles/te.json", '{"data": [{"file": "a.wav"}]}'),
    ],
)
def test_a_table_that_is_damaged_is_named_and_not_a_crash(name: str, table: str, text: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    (tmp_path / table).write_text(text)
    with pytest.raises(LayoutError, match="is not in its authors' format") as error:
        TASKS[name].open(tmp_path)
    assert TASKS[name].title in str(error.value)


@pytest.mark.parametrize(
    ("name", "clips", "classes"),
    [
        ("esc50", 400, 10), ("gtzan-music-speech", 128, 2), ("ravdess", 1_440, 8), ("mridangam-stroke", 2_879, 9),
        ("mridangam-tonic", 2_879, 6), ("speech-commands", 350, 11), ("speech-commands-35", 350, 35),
    ],
)  # fmt: skip
def test_the_real_data_sets_are_found_whole(name: str, clips: int, classes: int, shared: Path) -> None:
    found = TASKS[name].open(shared / "data/eval")
    assert (len(found.clips), len(found.classes)) == (clips, classes)
    assert (found.missing, found.strangers) == ((), ())
