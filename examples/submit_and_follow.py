"""Submit a video to a running service, follow its events, print the verdict. Needs only Python.

    python examples/submit_and_follow.py interview.mp4 [http://127.0.0.1:8000]

Set AURA_KEY where the service asks for a key.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path


def ask(url: str, data: bytes | None = None, **headers: str) -> urllib.request.Request:
    """A request with the key, if there is one."""
    if key := os.environ.get("AURA_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    return urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})


def submit(server: str, path: Path) -> str:
    """Upload a video; returns the job's id. The key makes it harmless to send it twice."""
    boundary = uuid.uuid4().hex
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{path.name}"\r\n\r\n'
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    request = ask(
        f"{server}/analyze-video", body, Content_Type=kind, Idempotency_Key=uuid.uuid4().hex
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["job_id"])


def follow(server: str, job_id: str) -> None:
    """Print events until the job is finished; a broken connection goes on where it broke."""
    last = "0"
    while True:
        request = ask(f"{server}/jobs/{job_id}/events", Last_Event_ID=last)
        try:
            with urllib.request.urlopen(request) as answer:
                if answer.status == 204:  # finished, and everything was seen
                    return
                for line in answer:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "id":
                        last = value
                    elif name == "data":
                        told = json.loads(value)
                        print(told["event"], told.get("stage", ""), told.get("percent", ""))
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)


def main() -> None:
    """Submit, follow, print."""
    path = Path(sys.argv[1])
    server = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000"
    try:
        job_id = submit(server, path)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {json.load(error)['detail']}")
    follow(server, job_id)
    with urllib.request.urlopen(ask(f"{server}/jobs/{job_id}")) as answer:
        job = json.load(answer)
    if job["status"] != "completed":
        sys.exit(f"{path}: {job['status']}: {(job['error'] or {}).get('message', '')}")
    prediction = job["report"]["prediction"]
    print(prediction["overall_class"], prediction["manipulation_confidence"], prediction["reason"])


if __name__ == "__main__":
    main()
