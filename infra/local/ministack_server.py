"""The local cloud: MiniStack, and a port that serves the deployed HTTP API.

Usage: ministack_server.py --port 4566 --front-port 8787 --folder target/local
                           [--functions-endpoint http://127.0.0.1:4567]

It listens on 127.0.0.1 only. State is stored in FOLDER/state and written when the process receives
SIGTERM. FOLDER/api-id holds the id of the HTTP API that the front port serves. The functions'
output is written to FOLDER/logs/functions.log without delay.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import socketserver
import sys
import threading
import time

import condition_keys

PINNED = "1.5.33"
LOOPBACK = "127.0.0.1"
# API Gateway's limit for request bodies, in bytes.
MAX_BODY = 10 * 1024 * 1024


def configure(options):
    """Sets the environment variables of MiniStack. Functions inherit all of them."""
    folder = options.folder
    # The functions' AWS endpoint: this process, unless a proxy is given.
    endpoint = options.functions_endpoint or f"http://{LOOPBACK}:{options.port}"
    # Removes the developer's own AWS settings, so that functions cannot use them.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update({
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(options.port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "state" / "s3"),
        # Enforces IAM: a function may only do what its role allows.
        "AUTH": "true",
        # Unused listeners.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        # Lambda sets these; MiniStack does not.
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
    })
    # Functions must reach this process directly, not through a configured HTTP proxy.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = f"{LOOPBACK},localhost"


def patch(log_path):
    """Removes fixed waits and logs the functions' output. Uses private names of the pinned version."""
    from ministack.core import iam_actions, iam_evaluator, lambda_runtime
    from ministack.services import cloudformation, lambda_svc
    from ministack.services.cloudformation import provisioners

    # Head and body are written separately, which costs about 40 ms with Nagle's algorithm.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    worker = lambda_runtime.ProvidedWorker
    # The original waits 50 ms for functions that print nothing.
    worker._drain_stderr_bounded = lambda self, **_: self._drain_stderr()

    log = open(log_path, "wb", buffering=0)
    pump = worker._pump_output

    def logged_lines(stream, name):
        prefix = f"[{name}] ".encode()
        for line in iter(stream.readline, b""):
            log.write(prefix + line.rstrip(b"\r\n") + b"\n")
            yield line

    class LoggedStream:
        def __init__(self, stream, name):
            self.lines, self.stream = logged_lines(stream, name), stream

        def readline(self):
            return next(self.lines, b"")

        def close(self):
            self.stream.close()

    # Measures the functions' timeouts without the time in which the machine ran nothing.
    lambda_runtime.time = Clock(log)

    worker._pump_output = lambda self, stream, queue: pump(self, LoggedStream(stream, self.func_name), queue)
    # Policies that require TLS accept loopback, which has no TLS.
    resolve = iam_evaluator._resolve_condition_key
    iam_evaluator._resolve_condition_key = lambda key, context: (
        "true" if key.lower() == "aws:securetransport" else resolve(key, context)
    )
    # SQS has no separate permissions for batches: sqs:SendMessage allows SendMessageBatch.
    action = iam_actions.extract_iam_action

    def without_batches(service, *rest, **more):
        found = action(service, *rest, **more)
        return found.removesuffix("Batch") if found and found.startswith("sqs:") else found

    iam_actions.extract_iam_action = without_batches
    condition_keys.patch(iam_actions, iam_evaluator)
    # An update of a nested stack forgets the attributes of the resources that have not changed.
    update = provisioners._update_resource

    def with_attributes(kind, physical_id, old, new, stack, logical_id=None, attributes=None):
        known = cloudformation._stacks.get(stack, {}).get("_resources", {}).get(logical_id, {}).get("Attributes", {})
        updated_id, updated = update(kind, physical_id, old, new, stack, logical_id, attributes or known)
        return updated_id, known | updated if updated_id == physical_id else updated

    provisioners._update_resource = with_attributes
    # CloudFormation here refuses alarms on an expression. They are stored, and never go off.
    alarm = provisioners._cw_metric_alarm_record

    def without_expressions(name, props):
        if not props.get("Metrics"):
            return alarm(name, props)
        rest = {key: value for key, value in props.items() if key != "Metrics"}
        return alarm(name, {"Namespace": "Expressions", "MetricName": name, **rest})

    provisioners._cw_metric_alarm_record = without_expressions
    # The original keeps a log stream per invocation in memory and in the state forever.
    lambda_svc._emit_lambda_logs = lambda *_, **__: None


class Clock:
    """The module `time` with a `monotonic` that leaves out pauses of this process.

    When the machine holds everything for ten seconds, a function's timeout must not pass, because
    the function did not run either. A pause is printed to the functions' log.
    """

    # Seconds.
    STEP = 0.05
    PAUSE = 1.0

    def __init__(self, log):
        self.log = log
        # When `run` last ran, and the length of all pauses so far.
        self.state = (time.monotonic(), 0.0)
        threading.Thread(target=self.run, daemon=True, name="clock").start()

    def __getattr__(self, name):
        return getattr(time, name)

    def run(self):
        while True:
            time.sleep(self.STEP)
            now, (last, pauses) = time.monotonic(), self.state
            pause = max(0.0, now - last - self.PAUSE)
            self.state = (now, pauses + pause)
            if pause:
                line = {"level": "WARN", "message": f"the machine paused the local cloud for {now - last:.1f} s"}
                self.log.write(b"[local cloud] " + json.dumps(line).encode() + b"\n")

    def monotonic(self):
        last, pauses = self.state
        return min(time.monotonic(), last + self.PAUSE) - pauses


class FrontPort:
    """Forwards requests on the front port to the $default stage of the HTTP API."""

    def __init__(self, app, port, api_id_path):
        self.app, self.port, self.api_id_path = app, port, api_id_path

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or (scope.get("server") or (None, None))[1] != self.port:
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if int(headers.get(b"content-length", b"0")) > MAX_BODY:
            return await respond(send, 413, "Request Entity Too Large")
        try:
            api_id = self.api_id_path.read_text().strip()
        except FileNotFoundError:
            return await respond(send, 503, "No API is deployed yet")
        prefix = f"/_aws/execute-api/{api_id}/$default"
        raw_path = scope.get("raw_path") or scope["path"].encode()
        await self.app(
            {**scope, "path": prefix + scope["path"], "raw_path": prefix.encode() + raw_path},
            receive,
            send,
        )


async def respond(send, status, message):
    body = json.dumps({"message": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True, help="port of the AWS API")
    parser.add_argument("--front-port", type=int, required=True, help="port of the HTTP API")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder for state and logs")
    parser.add_argument("--functions-endpoint", metavar="URL",
                        help="AWS endpoint of the functions, such as a proxy; default: --port")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    (options.folder / "state").mkdir(parents=True, exist_ok=True)
    (options.folder / "logs").mkdir(parents=True, exist_ok=True)

    found = importlib.metadata.version("ministack")
    if found != PINNED:
        sys.exit(f"ministack {found} is installed, but this launcher requires {PINNED}")
    configure(options)
    patch(options.folder / "logs" / "functions.log")

    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app

    config = Config()
    config.bind = [f"{LOOPBACK}:{options.port}", f"{LOOPBACK}:{options.front_port}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    try:
        asyncio.run(serve(FrontPort(app.app, options.front_port, options.folder / "api-id"), config))
    except OSError as error:
        sys.exit(f"The local cloud cannot listen: {error}")


if __name__ == "__main__":
    main()
