#!/usr/bin/env python3
"""Deploys infra/template.yaml through CloudFormation, as `sam package` and `sam deploy` do, and prints the outputs.

The code of each function is the binary that cargo built for this machine, because the emulator runs it directly.
"""

import argparse
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

from botocore.config import Config
from botocore.session import Session

BUCKET = "deployment"


def zipped(binary: pathlib.Path) -> bytes:
    """A Lambda deployment package: the binary, without symbols, under the name that provided.al2023 runs."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, binary], check=True)
        code = pathlib.Path(stripped.name).read_bytes()
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, code, zipfile.ZIP_DEFLATED)
    return package.getvalue()


def packaged(template: str) -> tuple[str, list[str]]:
    """The template with each function's CodeUri in the bucket, and the names of the binaries."""
    pattern = re.compile(r"^      CodeUri: \.\./functions/(\S+)$", re.MULTILINE)
    names = [match[1] for match in pattern.finditer(template)]
    # The emulator does not pass the parameters to the SAM translator.
    template = template.replace("AutoPublishCodeSha256: !Ref ReleaseId", 'AutoPublishCodeSha256: "1"')
    return pattern.sub(rf"      CodeUri: s3://{BUCKET}/\1.zip", template), names


def without_metric_math(template: str) -> str:
    """The template without its metric math alarms. CloudFormation accepts them, but the emulator does not."""
    alarm = re.compile(r"^  \w+:\n    Type: AWS::CloudWatch::Alarm\n    Properties:\n(?:      .*\n)+", re.MULTILINE)
    return alarm.sub(lambda match: "" if "\n      Metrics:\n" in match[0] else match[0], template)


def rotate(options: argparse.Namespace) -> None:
    """Rotates the signing key as the runbook says, before any function has read the keys."""
    script = pathlib.Path(__file__).resolve().parents[2] / "infra/rotate-signing-key"
    environment = {"AWS_ENDPOINT_URL": options.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    for arguments in (["announce", "--key-spec", options.signing_key_spec], ["sign", "--now"]):
        command = [sys.executable, script, *arguments, "--stack-name", options.stack]
        subprocess.run(command, env=os.environ | environment, stdout=sys.stderr, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the emulator's URL")
    parser.add_argument("--template", required=True, type=pathlib.Path)
    parser.add_argument("--binaries", required=True, type=pathlib.Path, help="where cargo built the functions")
    parser.add_argument("--stack", default="access-keys")
    parser.add_argument("--signing-key-spec", help="sign with a KMS key of this spec, as after a rotation")
    parser.add_argument("parameters", nargs="*", help="Name=value")
    options = parser.parse_args()

    def client(service: str):
        return Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=options.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    template, names = packaged(without_metric_math(options.template.read_text()))
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=f"{name}.zip", Body=zipped(options.binaries / name))

    # A template in a request may have at most 51,200 bytes. A template in a bucket may have up to a megabyte.
    s3.put_object(Bucket=BUCKET, Key="template.yaml", Body=template.encode())

    parameters = [parameter.split("=", 1) for parameter in options.parameters]
    parameters.append(["ReleaseId", "1"])

    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=options.stack,
        TemplateURL=f"{options.endpoint}/{BUCKET}/template.yaml",
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters],
    )
    try:
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=options.stack, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
    except Exception as error:
        for event in cloudformation.describe_stack_events(StackName=options.stack)["StackEvents"]:
            if "FAILED" in event["ResourceStatus"]:
                print(event["LogicalResourceId"], event.get("ResourceStatusReason"), file=sys.stderr)
        sys.exit(str(error))
    if options.signing_key_spec:
        rotate(options)
    [stack] = cloudformation.describe_stacks(StackName=options.stack)["Stacks"]
    print(json.dumps({output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}))


if __name__ == "__main__":
    main()
