"""20 kHz, 10 Hz and 1 Hz at once, for real: nothing that was sent is missing without a word.

Fifteen seconds here, ten minutes in `make soak`, by the same function.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.fast_streams import record_fast

# What may be on its way when the stream is stopped: the last block and the line's own queue.
TAIL_FRAMES = 8_000


def test_nothing_is_missing_from_three_streams_without_a_word(tmp_path: Path) -> None:
    found = record_fast(15.0, tmp_path)
    assert found.unexplained == 0
    assert found.out_of_order == ()
    assert found.findings == ()
    assert found.frames_recorded <= found.frames_sent
    if not found.faults:
        assert found.gaps == 0
        assert found.frames_sent - found.frames_recorded < TAIL_FRAMES
    for name, (sent, recorded) in found.readings.items():
        # One or two are asked for before the recording begins, to learn who it is.
        assert sent - 3 <= recorded + found.missed[name], name
    assert found.readings["tenth"][1] > 100
    assert found.frames_recorded > 100_000
