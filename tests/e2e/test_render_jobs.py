"""Whole jobs through a real server: what a user would lose if the way from upload to video broke."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import psutil
import pytest
import tiny_shot
from PIL import Image
from server_harness import PATIENCE, TOKEN, Server, wait_until

from blender_addon.client.http_client import BackendError
from blender_addon.client.messages import JobState, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.video_io import read_video


def test_a_photo_and_trajectories_become_a_video_with_its_conditions_and_story(
    server: Server, tmp_path: Path
) -> None:
    mask = server.client.upload(tiny_shot.png(tiny_shot.mask()))
    request = server.request(engine="preview", title="Box to the right", mask=mask, color_cue=True)
    submitted = server.client.submit(request, "whole-job")
    assert submitted.state in (JobState.QUEUED, JobState.RUNNING)
    status = server.finish(submitted.id)
    assert (status.state, status.error) == (JobState.SUCCEEDED, None)
    assert status.title == "Box to the right"
    assert status.fraction == 1.0
    assert status.finished is not None and status.finished >= status.created
    assert set(status.results) == set(ResultKind)
    for kind in (ResultKind.VIDEO, ResultKind.ID_VIDEO, ResultKind.COLOR_VIDEO):
        video = server.client.download(status.id, kind, tmp_path / f"{kind.name}.mp4")
        frames, fps = read_video(video)
        assert frames.shape == (tiny_shot.FRAMES, tiny_shot.HEIGHT, tiny_shot.WIDTH, 3)
        assert fps == 16.0
    first = read_video(tmp_path / "VIDEO.mp4")[0][0].astype(int)
    assert abs(first - tiny_shot.photo().astype(int)).mean() < 4
    folder = server.job_folder(status.id)
    downloaded = server.client.download(status.id, ResultKind.SIDECAR, tmp_path / "job.json")
    assert downloaded.read_bytes() == (folder / "job.json").read_bytes()
    sidecar = json.loads(downloaded.read_text())
    assert sidecar["label"] == status.label
    assert sidecar["warnings"] == list(status.warnings)
    assert sidecar["inputs_sha256"]["image"] == request.image
    assert sidecar["fit"]["iou"] > 0.9
    assert RenderRequest.from_json((folder / "request.json").read_text()) == request
    assert json.loads((folder / "status.json").read_text())["state"] == "succeeded"
    thumbnail = server.client.download(status.id, ResultKind.THUMBNAIL, tmp_path / "thumbnail.png")
    with Image.open(thumbnail) as picture:
        assert (picture.format, picture.size) == ("PNG", (tiny_shot.WIDTH, tiny_shot.HEIGHT))
    assert {path.name for path in folder.iterdir()} == {
        *("request.json", "inputs", "status.json", "log.txt"),
        *("video.mp4", "id.mp4", "color.mp4", "job.json", "thumbnail.png"),
    }


def test_the_pictures_of_a_video_come_as_an_image_sequence(server: Server, tmp_path: Path) -> None:
    status = server.finish(server.submit(engine="preview").id)
    archive = server.client.download_frames(status.id, tmp_path / "frames.zip")
    video = read_video(server.client.download(status.id, ResultKind.VIDEO, tmp_path / "v.mp4"))[0]
    with zipfile.ZipFile(archive) as pictures:
        assert pictures.namelist() == [f"{number:04}.png" for number in range(1, tiny_shot.FRAMES + 1)]
        for frame, name in zip(video, pictures.namelist(), strict=True):
            with Image.open(io.BytesIO(pictures.read(name))) as picture:
                assert (np.asarray(picture) == frame).all()
    (server.job_folder(status.id) / "video.mp4").write_bytes(b"damaged")
    with pytest.raises(BackendError, match="cannot be read: render the job again"):
        server.client.download_frames(status.id, tmp_path / "again.zip")
    assert not (tmp_path / "again.zip").exists()


def test_the_panel_learns_of_the_graphics_card(server: Server) -> None:
    device = server.client.device()
    assert device.free_bytes is None or 0 <= device.free_bytes <= (device.total_bytes or 0)


def test_a_draft_is_called_a_draft_everywhere_the_video_goes(server: Server, tmp_path: Path) -> None:
    status = server.finish(server.submit(title="Honest").id)
    assert status.label == "fake draft"
    assert status.warnings == ("A warning.",)
    video = server.client.download(status.id, ResultKind.VIDEO, tmp_path / "v.mp4")
    assert b"fake draft" in video.read_bytes()
    assert b"Honest" in video.read_bytes()
    assert imageio_ffmpeg.count_frames_and_secs(str(video))[0] == tiny_shot.FRAMES


def test_a_retried_submission_does_not_render_twice(server: Server) -> None:
    request = server.request()
    first = server.client.submit(request, "same-key")
    second = server.client.submit(request, "same-key")
    assert first.id == second.id
    assert server.client.submit(request, "other-key").id != first.id
    with pytest.raises(BackendError, match="another request") as caught:
        server.client.submit(server.request("other"), "same-key")
    assert caught.value.status == 409
    for job in server.client.jobs():
        server.finish(job.id)
    assert len([job for job in server.client.jobs() if job.id == first.id]) == 1


def test_libraries_that_print_do_not_disturb_a_job_and_their_words_are_in_its_log(server: Server) -> None:
    status = server.finish(server.submit("print").id)
    assert status.state is JobState.SUCCEEDED
    log = server.client.log(status.id)
    assert "noise on standard output" in log
    assert "noise from a library" in log


def test_the_backend_answers_while_a_job_runs_and_shows_its_progress(server: Server) -> None:
    job = server.submit("wait")
    status = server.wait_until_rendering(job.id)
    assert status.state is JobState.RUNNING
    assert (status.step, status.steps) == (1, 4)
    assert status.eta_seconds is not None
    assert server.client.health().uptime_seconds > 0
    assert server.client.engines()
    server.client.cancel(job.id)
    server.finish(job.id)


def test_cancelling_a_running_job_frees_the_machine_at_once_and_leaves_no_results(server: Server) -> None:
    job = server.submit("wait")
    server.wait_until_rendering(job.id)
    assert server.client.cancel(job.id).state in (JobState.CANCELLING, JobState.CANCELLED)
    assert server.finish(job.id).state is JobState.CANCELLED
    assert not list(server.job_folder(job.id).glob("**/*.mp4"))
    assert server.client.cancel(job.id).state is JobState.CANCELLED


def test_a_job_that_ignores_cancel_is_killed_with_everything_it_started(server: Server) -> None:
    job = server.submit("stubborn")
    server.wait_until_rendering(job.id)
    workers = wait_until(lambda: _descendants(server), "the worker's child")
    server.client.cancel(job.id)
    assert server.finish(job.id).state is JobState.CANCELLED
    wait_until(lambda: not any(worker.is_running() for worker in workers), "the end of the worker")


def _descendants(server: Server) -> list[psutil.Process]:
    found = psutil.Process(server.process.pid).children(recursive=True)
    return found if len(found) >= 2 else []


def test_a_queued_job_can_be_cancelled_and_the_running_one_goes_on(server: Server) -> None:
    running = server.submit("wait")
    queued = server.submit("wait")
    server.wait_until_rendering(running.id)
    assert server.client.cancel(queued.id).state is JobState.CANCELLED
    assert server.client.job(running.id).state is JobState.RUNNING
    server.client.cancel(running.id)
    server.finish(running.id)
    assert server.client.job(queued.id).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("prompt", "words", "code"),
    [
        ("killed", "memory ran out", ErrorCode.MEMORY),
        ("segfault", "crashed", ErrorCode.DEFECT),
        ("memory", "not enough memory", ErrorCode.MEMORY),
        ("bug", "ValueError: shapes (3,) and (4,)", ErrorCode.DEFECT),
        ("refuse", "The engine cannot do this: ask for less.", ErrorCode.ENGINE),
    ],
)
def test_a_job_that_dies_says_why_and_the_backend_goes_on(
    server: Server, prompt: str, words: str, code: ErrorCode
) -> None:
    status = server.finish(server.submit(prompt).id)
    assert (status.state, status.error_code) == (JobState.FAILED, code)
    told = server.job_folder(status.id) / "status.json"
    wait_until(told.is_file, "the end of the job in its folder")
    assert json.loads(told.read_text())["error_code"] == code
    assert status.error is not None and words in status.error
    assert "\n" not in status.error
    assert status.results == ()
    assert server.finish(server.submit().id).state is JobState.SUCCEEDED
    with pytest.raises(BackendError, match="no such result"):
        server.client.download(status.id, ResultKind.VIDEO, Path("never.mp4"))
    assert not Path("never.mp4").exists()


def test_a_failed_job_can_be_retried_and_a_good_one_is_not_rendered_again(server: Server) -> None:
    failed = server.finish(server.submit("killed").id)
    assert server.client.retry(failed.id).state in (JobState.QUEUED, JobState.RUNNING)
    assert server.finish(failed.id).state is JobState.FAILED
    good = server.finish(server.submit().id)
    with pytest.raises(BackendError, match="did not succeed"):
        server.client.retry(good.id)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "nothing"}, "no engine 'nothing'"),
        ({"engine": "absent"}, "weights are not here"),
        ({"mask": "0" * 64}, "was not uploaded"),
    ],
)
def test_a_job_that_cannot_run_is_refused_before_it_is_queued(
    server: Server, settings: dict[str, str], words: str
) -> None:
    before = server.client.jobs()
    with pytest.raises(BackendError, match=words):
        server.client.submit(server.request(**({"engine": "fake"} | settings)), "refused")
    assert server.client.jobs() == before
    assert len(list((server.data_dir / "jobs").iterdir())) == len(before)


@pytest.mark.parametrize(
    ("trajectories", "photo", "mask", "words", "code"),
    [
        (b"not an archive", None, None, "not a complete .npz archive", ErrorCode.TRAJECTORIES),
        (None, b"not an image", None, "The image is not", ErrorCode.IMAGE),
        (None, None, b"not a mask", "The mask is not", ErrorCode.MASK),
    ],
)
def test_inputs_that_are_not_what_they_should_be_fail_with_their_sentence(
    server: Server,
    trajectories: bytes | None,
    photo: bytes | None,
    mask: bytes | None,
    words: str,
    code: ErrorCode,
) -> None:
    request = RenderRequest(
        trajectories=server.client.upload(trajectories or tiny_shot.trajectory_bytes()),
        image=server.client.upload(photo or tiny_shot.png(tiny_shot.photo())),
        mask=None if mask is None else server.client.upload(mask),
        engine="fake",
    )
    status = server.finish(server.client.submit(request, f"bad-{words}").id)
    assert (status.state, status.error_code) == (JobState.FAILED, code)
    assert status.error is not None and words in status.error
    # The user never made a file of that name.
    assert str(server.data_dir) not in status.error


def test_events_tell_the_whole_life_of_a_job(server: Server) -> None:
    job = server.submit()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/v1/jobs/{job.id}/events", headers={"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("text/event-stream")
    text = response.read().decode()
    connection.close()
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert events[-1]["state"] == "succeeded"
    assert {event["id"] for event in events} == {job.id}
    assert len(events) >= 2


def test_jobs_of_a_server_that_was_killed_are_not_lost(start_server: Callable[..., Server]) -> None:
    first = start_server()
    running = first.submit("wait")
    queued = first.submit()
    first.wait_until_rendering(running.id)
    (worker,) = psutil.Process(first.process.pid).children()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    wait_until(lambda: not worker.is_running(), "the end of the orphaned worker")
    second = start_server()
    status = second.client.job(running.id)
    assert status.state is JobState.INTERRUPTED
    assert status.error is not None and "retry" in status.error
    assert second.finish(queued.id).state is JobState.SUCCEEDED
    assert second.client.retry(running.id).state in (JobState.QUEUED, JobState.RUNNING)
    second.wait_until_rendering(running.id)
    second.process.terminate()
    assert second.process.wait(PATIENCE) == 0
    assert not (second.folder / "ready.json").exists()
    third = start_server()
    assert third.client.job(running.id).state is JobState.INTERRUPTED


def test_two_blender_windows_share_the_job_list_without_taking_each_others_jobs(
    start_server: Callable[..., Server],
) -> None:
    first = start_server()
    running = first.submit("wait")
    first.wait_until_rendering(running.id)
    second = start_server()
    assert second.client.job(running.id).state is JobState.RUNNING
    assert second.finish(second.submit().id).state is JobState.SUCCEEDED
    second.client.cancel(running.id)
    assert first.finish(running.id).state is JobState.CANCELLED


def test_the_backend_ends_with_the_program_that_started_it(start_server: Callable[..., Server]) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    server = start_server("--parent-pid", str(parent.pid))
    job = server.submit("stubborn")
    server.wait_until_rendering(job.id)
    family = psutil.Process(server.process.pid).children(recursive=True)
    parent.kill()
    # Not waited for: like a Blender whose own parent is slow to notice.
    wait_until(lambda: server.process.poll() is not None, "the end of the server")
    wait_until(lambda: not any(process.is_running() for process in family), "the end of its workers")
    parent.wait()


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
def test_a_full_disk_ends_the_upload_or_the_job_with_a_sentence_and_nothing_half_written(
    start_server: Callable[..., Server],
) -> None:
    import resource

    limit = 1 << 20
    server = start_server(
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    )
    with pytest.raises(BackendError, match="free some disk space") as caught:
        server.client.upload(bytes(limit + 1))
    assert caught.value.code is ErrorCode.DISK
    assert not list((server.data_dir / "assets").glob(".upload-*"))
    server.finish(server.submit().id)
    status = server.finish(server.submit("noise").id)
    assert status.state is JobState.FAILED
    assert status.error is not None and "free" in status.error and "space" in status.error
    assert not list(server.job_folder(status.id).glob("**/*.mp4"))


def test_a_download_that_cannot_be_written_says_so_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    status = server.finish(server.submit().id)
    with pytest.raises(FlexTrajError, match="cannot be written"):
        server.client.download(status.id, ResultKind.VIDEO, tmp_path / "missing" / "v.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_job_list_of_many_jobs_comes_newest_first(server: Server) -> None:
    ids = [server.submit().id for _ in range(3)]
    listed = [job.id for job in server.client.jobs()]
    assert listed[:3] == ids[::-1]
    for job_id in ids:
        server.finish(job_id)
    assert time.time() - server.client.job(ids[0]).created < 3600
