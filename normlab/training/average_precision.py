"""
Mean average precision, by the COCO evaluation of faster-coco-eval.

That library is the evaluation of pycocotools in C++ with the same numbers. It needs only numpy, and
it has wheels for Python 3.8, where an IPU's jobs evaluate.

Source:
    Lin et al., "Microsoft COCO: Common Objects in Context", arXiv:1405.0312, and its evaluation:
    101 recalls, overlaps of .5, .55, ... .95, at most 100 objects per picture.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from normlab.training.detection import detections
from normlab.training.tasks import Measure, joined

Note = Dict[str, Any]  # an annotation in COCO's form

_TRUE = 2.0  # in place of a probability, if the row is an object and not a detection
_EMPTY = -1.0
_SIDE = 100.0  # of a picture; the evaluation excludes nothing because of its size


def found_and_true(output: Tensor, y: Tensor) -> Tensor:
    """
    Return the detected objects, followed by the true objects.

    Shape:
        (N, K + 4, G, G) and (N, M, 5) -> (N, rows, 6): class, probability or 2, four edges
    """
    mark = torch.full_like(y[:, :, :1], _TRUE)
    true = torch.cat([y[:, :, :1], mark, y[:, :, 1:]], dim=2)
    return torch.cat([detections(output), true.to(output.device)], dim=1)


def average_precision(rows: Tensor, overlap: Optional[float] = None) -> float:
    """
    Return the mean average precision over classes, and over the overlaps if none is given.

    A class without objects has no precision and is left out; 0 if there are no objects at all, or
    nothing was detected.

    Args:
        rows: the results of `found_and_true` for the whole test set.
        overlap: the intersection over union from which on a detection is correct.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    true, found = _annotations(rows)
    if not true or not found:
        return 0.0
    kinds = sorted({note["category_id"] for note in true})
    truth = COCO(
        {
            "images": [{"id": i} for i in range(len(rows))],
            "categories": [{"id": kind} for kind in kinds],
            "annotations": true,
        }
    )
    evaluation: Any = COCOeval_faster(truth, truth.loadRes(found), "bbox")
    if overlap is not None:
        evaluation.params.iouThrs = np.array([overlap])
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # overlaps, recalls, classes
    return float(precision[precision > -1].mean())


def _annotations(rows: Tensor) -> Tuple[List[Note], List[Note]]:
    true: List[Note] = []
    found: List[Note] = []
    for i, picture in enumerate(rows.tolist()):
        for kind, score, left, top, right, bottom in picture:
            if kind == _EMPTY or score == 0:
                continue
            box = [_SIDE * left, _SIDE * top, _SIDE * (right - left), _SIDE * (bottom - top)]
            note = {"image_id": i, "category_id": int(kind), "bbox": box}
            if score == _TRUE:
                area = box[2] * box[3]
                true.append({**note, "id": len(true) + 1, "area": area, "iscrowd": 0})
            else:
                found.append({**note, "score": score})
    return true, found


MAP = Measure(found_and_true, average_precision, joined)
MAP50 = Measure(found_and_true, partial(average_precision, overlap=0.5), joined)
