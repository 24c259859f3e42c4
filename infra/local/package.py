"""Packages the templates with `sam package`, as `sam deploy` does, without AWS and without a build.

Usage: package.py --template template.yaml --folder target/package

Copies the templates to FOLDER with an empty binary for each function, and uploads them to a bucket
in this process. Fails if a nested template or a function's code is not uploaded, which would only
show in a deployment.
"""

import argparse
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import deploy

BUCKET = "packages"


class Bucket(http.server.BaseHTTPRequestHandler):
    """The part of S3 that `sam package` uses: one bucket, whose objects are kept in memory."""

    objects = {}
    protocol_version = "HTTP/1.1"

    def key(self):
        return self.path.split("?")[0].removeprefix(f"/{BUCKET}/")

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.answer(200 if self.key() in self.objects else 404)

    def do_PUT(self):
        self.objects[self.key()] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def log_message(self, *_):
        pass


def copy(templates, root, folder):
    """Copies the templates to the same paths below `folder`, and creates the functions' code."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, template in templates.items():
        target = folder / path.relative_to(root.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        for properties in deploy.of_type(template, deploy.FUNCTION).values():
            code = (target.parent / properties["CodeUri"]).resolve()
            code.mkdir(parents=True, exist_ok=True)
            (code / "bootstrap").write_text(code.name)


def sam_package(template, endpoint):
    """Runs `sam package` on a template. Returns the packaged template's path."""
    packaged = template.with_name("packaged.yaml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_DEFAULT_REGION": deploy.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "NO_PROXY": "127.0.0.1",
        "SAM_CLI_TELEMETRY": "0",
    }
    done = subprocess.run(
        [pathlib.Path(sys.executable).with_name("sam"), "package", "--template-file", template,
         "--s3-bucket", BUCKET, "--output-template-file", packaged],
        env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise deploy.Failure(f"sam package failed:\n{done.stdout}{done.stderr}")
    return packaged


def check(template, objects):
    """Checks that a packaged template refers to uploaded objects only. Returns its functions and
    nested stacks, with theirs."""
    functions = stacks = 0
    for name, properties in deploy.of_type(template, deploy.FUNCTION).items():
        if properties["CodeUri"].removeprefix(f"s3://{BUCKET}/") not in objects:
            raise deploy.Failure(f"the code of {name} was not uploaded: {properties['CodeUri']}")
        functions += 1
    for name, properties in deploy.of_type(template, deploy.STACK).items():
        bucket, _, key = properties["TemplateURL"].rpartition("/")
        if not bucket.endswith(f"/{BUCKET}") or key not in objects:
            raise deploy.Failure(f"the template of {name} was not uploaded: {properties['TemplateURL']}")
        nested = check(deploy.parse(objects[key].decode()), objects)
        functions, stacks = functions + nested[0], stacks + nested[1] + 1
    return functions, stacks


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--template", type=pathlib.Path, required=True, help="the root template")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="folder for the copies")
    options = parser.parse_args()
    root, folder = options.template.resolve(), options.folder.resolve()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        templates = deploy.read_templates(root)
        copy(templates, root, folder)
        packaged = sam_package(folder / root.name, f"http://127.0.0.1:{server.server_port}")
        functions, stacks = check(deploy.read_template(packaged), Bucket.objects)
    except deploy.Failure as failure:
        sys.exit(f"package: {failure}")
    expected = sum(len(deploy.of_type(template, deploy.FUNCTION)) for template in templates.values())
    if functions != expected:
        sys.exit(f"package: {functions} of {expected} functions were packaged")
    print(f"Packaged {functions} functions and {stacks} nested stacks.")


if __name__ == "__main__":
    main()
