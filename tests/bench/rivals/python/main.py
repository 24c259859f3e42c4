"""A minimal runtime loop. Lambda's own does more, so this favors Python."""

import http.client
import json
import os

from handler import handler

BASE = "/2018-06-01/runtime/invocation"


def serve():
    host = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(method, path, body=None):
        host.request(method, f"{BASE}/{path}", body)
        response = host.getresponse()
        return response.headers, response.read()

    while True:
        headers, event = call("GET", "next")
        invocation = headers["lambda-runtime-aws-request-id"]
        try:
            answer = json.dumps(handler(json.loads(event)))
            call("POST", f"{invocation}/response", answer)
        except Exception as error:
            call("POST", f"{invocation}/error", json.dumps({"errorMessage": str(error)}))


serve()
