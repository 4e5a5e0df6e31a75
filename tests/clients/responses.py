"""Checks that the generated client has each response of infra/openapi.yaml.

Usage: responses.py <openapi.yaml> <folder of the client>
"""

import re
import sys
from pathlib import Path

from ruamel.yaml import YAML


def main(document: str, client: str) -> None:
    modules = {path.stem.replace("_", ""): path.read_text() for path in Path(client, "api").glob("*/*.py")}
    for path in YAML(typ="safe").load(Path(document))["paths"].values():
        for method, operation in path.items():
            if method == "parameters":
                continue
            module = modules[operation["operationId"].lower()]
            generated = set(re.findall(r"response\.status_code == (\d+):", module))
            missing = operation["responses"].keys() - generated
            assert not missing, f"{operation['operationId']}: {missing}"


main(*sys.argv[1:])
