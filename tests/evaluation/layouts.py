"""Few-clip copies of the data sets in their true layouts: real file names and columns, short noise for sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000


def noise(path: Path, seconds: float = 0.25) -> None:
    """Noise that is the same for the same file name and another for another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path.relative_to(path.parents[1])).encode()))
    colour = rng.uniform()
    white = rng.standard_normal(int(seconds * RATE))
    samples = (1 - colour) * white + colour * white.cumsum()
    soundfile.write(path, samples / np.abs(samples).max(), RATE)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def esc50(root: Path) -> None:
    rows = [
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "1-110389-A-0.wav,1,0,dog,True,110389,A",
        "1-137-A-32.wav,1,32,keyboard_typing,False,137,A",
        "2-102435-A-22.wav,2,22,clapping,False,102435,A",
        "2-114280-A-0.wav,2,0,dog,True,114280,A",
        "3-144028-A-0.wav,3,0,dog,True,144028,A",
        "3-157492-A-32.wav,3,32,keyboard_typing,False,157492,A",
        "4-151242-A-37.wav,4,37,clock_alarm,False,151242,A",
        "4-182395-A-0.wav,4,0,dog,True,182395,A",
        "5-181766-A-10.wav,5,10,rain,True,181766,A",
        "5-203128-A-0.wav,5,0,dog,True,203128,A",
        "5-203128-B-0.wav,5,0,dog,True,203128,B",
    ]
    home = root / "ESC-50-master"
    write(home / "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take", *rows)
    for row in rows:
        noise(home / "audio" / row.split(",")[0])


def fsd50k(root: Path) -> None:
    truth = root / "FSD50K.ground_truth"
    write(
        truth / "vocabulary.csv",
        "0,Accelerating_and_revving_and_vroom,/m/07q2z82",
        "12,Bark,/m/05tny_",
        "56,Dog,/m/0bt9lr",
        "51,Domestic_animals_and_pets,/m/068hy",
        "61,Electric_guitar,/m/02sgy",
        "84,Guitar,/m/0342h",
        "125,Music,/m/04rlf",
    )
    write(
        truth / "dev.csv",
        "fname,labels,mids,split",
        '64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train',
        '16399,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train',
        '207917,"Bark,Dog,Domestic_animals_and_pets","/m/05tny_,/m/0bt9lr,/m/068hy",train',
        '237,"Accelerating_and_revving_and_vroom","/m/07q2z82",val',
    )
    write(
        truth / "eval.csv",
        "fname,labels,mids",
        '37199,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf"',
        '175151,"Bark,Dog,Domestic_animals_and_pets","/m/05tny_,/m/0bt9lr,/m/068hy"',
        '253463,"Accelerating_and_revving_and_vroom","/m/07q2z82"',
        '329838,"Music","/m/04rlf"',
    )
    for name in ("64760", "16399", "207917", "237"):
        noise(root / "FSD50K.dev_audio" / f"{name}.wav")
    for name in ("37199", "175151", "253463", "329838"):
        noise(root / "FSD50K.eval_audio" / f"{name}.wav")


def urbansound8k(root: Path) -> None:
    rows = [
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,1,5,2,children_playing",
        "100648-1-0-0.wav,100648,4.823402,5.471927,2,10,1,car_horn",
        "100652-3-0-0.wav,100652,0.0,4.0,1,2,3,dog_bark",
        "100652-3-0-1.wav,100652,0.5,4.5,1,2,3,dog_bark",
        "101415-3-0-2.wav,101415,1.0,5.0,1,1,3,dog_bark",
        "102305-6-0-0.wav,102305,0.0,2.611610,1,1,6,gun_shot",
    ]
    home = root / "UrbanSound8K"
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    write(home / "metadata/UrbanSound8K.csv", header, *rows)
    for row in rows:
        noise(home / "audio" / f"fold{row.split(',')[5]}" / row.split(",")[0])


def dcase2017(root: Path) -> None:
    tables = {
        "training": [
            "-5QrBL6MzLg_60.000_70.000.wav\t60.000\t70.000\tTrain horn",
            "-CZ1LIc8aos_20.000_30.000.wav\t20.000\t30.000\tAir horn, truck horn",
            "-CZ1LIc8aos_20.000_30.000.wav\t20.000\t30.000\tTruck",
        ],
        "testing": ["-E4ibE2tnFw_30.000_40.000.wav\t30.000\t40.000\tCar alarm"],
        "evaluation": [
            "-fCSO8SVWZU_6.000_16.000.wav\t6.000\t16.000\tTrain",
            "-fCSO8SVWZU_6.000_16.000.wav\t6.000\t16.000\tTrain horn",
            "0dIsE8P5P2g_70.000_80.000.wav\t70.000\t80.000\tScreaming",
            "1vYA5UjMPuc_30.000_40.000.wav\t30.000\t40.000\tTruck",
        ],
    }
    for name, rows in tables.items():
        write(root / f"groundtruth_weak_label_{name}_set.csv", *rows)
        for file in {row.split("\t")[0] for row in rows}:
            noise(root / name / f"Y{file}")


def audioset(root: Path) -> None:
    write(
        root / "class_labels_indices.csv",
        "index,mid,display_name",
        '0,/m/09x0r,"Speech"',
        '1,/m/05zppz,"Male speech, man speaking"',
        '72,/m/0jbk,"Animal"',
        '137,/m/04rlf,"Music"',
    )
    comments = [
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        "# num_ytids=3",
        "# YTID, start_seconds, end_seconds",
    ]
    write(
        root / "balanced_train_segments.csv",
        *comments,
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/m/04rlf"',
        '--ZhevVpy1s, 50.000, 60.000, "/m/0jbk"',
    )
    write(
        root / "eval_segments.csv",
        *comments,
        '--4gqARaEJE, 0.000, 10.000, "/m/0jbk,/m/09x0r"',
        '--BfvyPmVMo, 20.000, 30.000, "/m/04rlf"',
        '--U7joUcTCo, 0.000, 10.000, "/m/05zppz,/m/09x0r"',
    )
    for name in ("--PJHxphWEs", "--ZhevVpy1s"):
        noise(root / "audios/balanced_train_segments" / f"Y{name}.wav")
    for name in ("--4gqARaEJE", "--BfvyPmVMo", "--U7joUcTCo"):
        noise(root / "audios/eval_segments" / f"Y{name}.wav")


def music_speech(root: Path) -> None:
    for name in ("bagpipe", "ballad", "bartok", "beat", "beatles"):
        noise(root / "music_speech/music_wav" / f"{name}.wav")
    for name in ("acomic", "acomic2", "allison", "amal", "austria"):
        noise(root / "music_speech/speech_wav" / f"{name}.wav")


def genres(root: Path) -> None:
    for genre in ("blues", "jazz", "rock"):
        for number in range(3):
            noise(root / "genres" / genre / f"{genre}.{number:05d}.wav")


def mridangam(root: Path) -> None:
    names = {
        "B": ("224030__akshaylaya__bheem-b-001", "224144__akshaylaya__cha-b-001", "224145__akshaylaya__cha-b-002"),
        "D#": ("229275__akshaylaya__tha-dsh-002", "228900__akshaylaya__bheem-dsh-001"),
        "E": ("230242__akshaylaya__dheem-e-028", "230575__akshaylaya__tha-e-028"),
    }
    for tonic, files in names.items():
        for name in files:
            noise(root / "mridangam_stroke_1.5" / tonic / f"{name}.wav")


def beijing_opera(root: Path) -> None:
    for name in ("bangu-01", "bangu-02", "daluo-01", "daluo-02", "naobo-01", "naobo-02", "xiaoluo-01", "xiaoluo-02"):
        noise(root / "beijing_opera_percussion_instrument_1.0" / f"4477__ajaysm__{name}.wav")


def tut2017(root: Path) -> None:
    development = root / "TUT-acoustic-scenes-2017-development"
    rows = [
        "audio/b020_90_100.wav\tbeach\tb020",
        "audio/b020_110_120.wav\tbeach\tb020",
        "audio/a131_100_110.wav\tcafe/restaurant\ta131",
        "audio/a022_20_30.wav\tcity_center\ta022",
        "audio/b061_0_10.wav\tcafe/restaurant\tb061",
    ]
    write(development / "meta.txt", *rows)
    write(development / "evaluation_setup/fold1_evaluate.txt", "audio/b061_0_10.wav\tcafe/restaurant")
    evaluation = root / "TUT-acoustic-scenes-2017-evaluation"
    tested = ["audio/1.wav\tbeach\t237", "audio/2.wav\tcafe/restaurant\t241", "audio/3.wav\tcity_center\t243"]
    write(evaluation / "meta.txt", *tested)
    for home, names in ((development, rows), (evaluation, tested)):
        for row in names:
            noise(home / row.split("\t")[0])


def crema_d(root: Path) -> None:
    for actor in (1001, 1002, 1003, 1004, 1005):
        for emotion in ("ANG_XX", "SAD_XX", "NEU_XX"):
            noise(root / "AudioWAV" / f"{actor}_DFA_{emotion}.wav")


def ravdess(root: Path) -> None:
    for actor in range(1, 6):
        for part, modality in (("Audio_Speech_Actors_01-24", "01"), ("Audio_Song_Actors_01-24", "02")):
            for emotion in ("01", "05"):
                noise(root / part / f"Actor_{actor:02d}" / f"03-{modality}-{emotion}-01-01-01-{actor:02d}.wav")


def speech_commands(root: Path) -> None:
    home = root / "speech_commands_v0.02"
    names = {
        "yes": ("0a7c2a8d_nohash_0", "004ae714_nohash_0", "0ab3b47d_nohash_0"),
        "no": ("0a7c2a8d_nohash_0", "012c8314_nohash_0"),
        "bed": ("00176480_nohash_0", "0a7c2a8d_nohash_0"),
        "marvin": ("0132a06d_nohash_1",),
    }
    for word, files in names.items():
        for name in files:
            noise(home / word / f"{name}.wav")
    write(home / "validation_list.txt", "yes/004ae714_nohash_0.wav")
    write(
        home / "testing_list.txt", "yes/0ab3b47d_nohash_0.wav", "no/012c8314_nohash_0.wav", "bed/00176480_nohash_0.wav"
    )
    noise(home / "_background_noise_/running_tap.wav", seconds=2.0)
    noise(home / "_background_noise_/white_noise.wav", seconds=2.25)
    (home / "_background_noise_/README.md").write_text("noise")


def speech_commands_test_set(root: Path) -> None:
    for folder in ("yes", "no", "_silence_", "_unknown_"):
        noise(root / "speech_commands_test_set_v0.02" / folder / "0.wav")


def vocalsound(root: Path) -> None:
    lists = {
        "tr": ("f0003_0_cough", "f0003_0_sneeze", "m0054_0_sniff"),
        "val": ("f1099_0_throatclearing",),
        "te": ("f0010_0_laughter", "f0010_0_sigh", "m0084_0_cough", "m0084_0_throatclearing"),
    }
    mids = {"cough": "/m/01b_21", "laughter": "/m/01j3sz", "sigh": "/m/07plz5l", "sneeze": "/m/01hsr_"}
    mids |= {"sniff": "/m/07ppn3j", "throatclearing": "/m/0dl9sf8"}
    for name, clips in lists.items():
        data = [
            {"wav": f"/data/sls/scratch/vs_processed/data_16k/{clip}.wav", "labels": mids[clip.split("_")[-1]]}
            for clip in clips
        ]
        write(root / "datafiles" / f"{name}.json", json.dumps({"data": data}))
        for clip in clips:
            noise(root / "audio_16k" / f"{clip}.wav")


def libricount(root: Path) -> None:
    for count in (0, 1, 2, 10):
        for number in range(2):
            noise(root / "LibriCount10-0dB/test" / f"{count}_{number}.wav")
            write(root / "LibriCount10-0dB/test" / f"{count}_{number}.json", "[]")


def clotho(root: Path) -> None:
    write(
        root / "clotho_captions_evaluation.csv",
        "file_name,caption_1,caption_2,caption_3,caption_4,caption_5",
        'Santa Motor.wav,"A machine whines, and squeals.",A motor.,A drill.,A saw.,A pump.',
        "Radio Garble.wav,A radio.,Static.,Voices on a radio.,People talk.,A garbled radio.",
        "Flipping Pages.wav,Pages.,A book.,Paper.,Someone flips pages.,A page turns.",
    )
    for name in ("Santa Motor", "Radio Garble", "Flipping Pages"):
        noise(root / "evaluation" / f"{name}.wav")


def audiocaps(root: Path) -> None:
    write(
        root / "test.csv",
        "audiocap_id,youtube_id,start_time,caption",
        "103549,7fmOlUlwoNg,20,Constant rattling noise and sharp vibrations",
        "103548,6BJ455B1aAs,0,A rocket flies by followed by a loud explosion",
        "103550,7fmOlUlwoNg,20,Rattling",
    )
    for name in ("7fmOlUlwoNg_20", "6BJ455B1aAs_0"):
        noise(root / "audio" / f"{name}.wav")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "esc50": esc50,
    "fsd50k": fsd50k,
    "urbansound8k": urbansound8k,
    "dcase2017-task4": dcase2017,
    "audioset": audioset,
    "gtzan-music-speech": music_speech,
    "gtzan-genres": genres,
    "mridangam-stroke": mridangam,
    "mridangam-tonic": mridangam,
    "beijing-opera": beijing_opera,
    "tut2017": tut2017,
    "crema-d": crema_d,
    "ravdess": ravdess,
    "speech-commands": speech_commands,
    "speech-commands-35": speech_commands,
    "vocalsound": vocalsound,
    "libricount": libricount,
}
