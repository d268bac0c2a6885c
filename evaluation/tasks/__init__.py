"""The tasks by name. `SUITES["paper"]` are the sixteen of Elizalde et al. 2022, in the order of its first table.

`TASKS` are published data sets, told by their layout. `NAMED` has two more, which fit any folder of recordings and so
are taken only by name.
"""

from evaluation.task import Clip, DataSet, LayoutError, Task
from evaluation.tasks import (
    audioset,
    beijing_opera,
    crema_d,
    dcase2017,
    esc50,
    fsd50k,
    genres,
    labelled,
    libricount,
    mridangam,
    music_speech,
    ravdess,
    speech_commands,
    tut2017,
    urbansound8k,
    vocalsound,
)

PAPER = (
    esc50.TASK,
    fsd50k.TASK,
    urbansound8k.TASK,
    dcase2017.TASK,
    audioset.TASK,
    music_speech.TASK,
    genres.TASK,
    mridangam.STROKE,
    mridangam.TONIC,
    beijing_opera.TASK,
    tut2017.TASK,
    crema_d.TASK,
    ravdess.TASK,
    speech_commands.TASK,
    vocalsound.TASK,
    libricount.TASK,
)

TASKS = {task.name: task for task in (*PAPER, speech_commands.TASK_35)}
NAMED = TASKS | {task.name: task for task in (labelled.TASK, labelled.MANY)}
SUITES = {"paper": tuple(task.name for task in PAPER)}

__all__ = ["NAMED", "SUITES", "TASKS", "Clip", "DataSet", "LayoutError", "Task"]
