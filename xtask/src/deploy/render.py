"""Renders what is in deploy/ as a cluster would get it, for `cargo xtask test`.

Arguments: the repository's deploy directory, the schemas of the Prometheus operator's kinds, then the words of the command that builds a kustomization. Writes one JSON
object: "objects", lists of objects by what they were rendered from, and "findings", what schemas and linter say.
"""

import json
import pathlib
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint

KUBERNETES = "1.32"
# Of the Prometheus operator, whose schemas are not Kubernetes' own.
OPERATOR = "monitoring.coreos.com/v1"
# Severities of the linter's findings: 1 is a remark.
WARNING = 2


def kustomizations(deploy, command):
    for path in sorted(deploy.rglob("kustomization.yaml")):
        directory = path.parent
        text = subprocess.run([*command, directory], check=True, capture_output=True, text=True).stdout
        yield str(directory.relative_to(deploy)), list(filter(None, yaml.safe_load_all(text)))


def charts(deploy):
    """With the default values, then with each set of ci/."""
    chart = Chart.load(deploy / "chart")
    sets = [None, *sorted((deploy / "chart/ci").glob("*.yaml"))]
    for path in sets:
        values = yaml.safe_load(path.read_text()) if path else {}
        files = chart.render(values, name="sealane", namespace="sealane-system", is_install=True)
        documents = (doc for name, text in sorted(files.items()) if name.endswith(".yaml") for doc in yaml.safe_load_all(text))
        report = lint(deploy / "chart", values, strict=True, kube_version=f"v{KUBERNETES}.0")
        findings = [m for m in report["messages"] if m["severity"] >= WARNING]
        name = f"chart/ci/{path.name}" if path else "chart"
        yield name, list(filter(None, documents)), [f"{m['path']}: {m['error']}" for m in findings]


def refusals(deploy):
    """Values that the schema or the templates have to refuse."""
    chart = Chart.load(deploy / "chart")
    for values in (
        {"polcy": {"mode": "STRICT"}},
        {"policy": {"mode": "strict"}},
        {"rootNamespace": ""},
        {"ca": {"tokenAudience": ""}},
        {"agent": {"extraArgs": ["drain=1m"]}},
        {"agent": {"admin": "15020"}},
        {"agent": {"clientFiles": [{"namespace": "..", "secretName": "shop-client"}]}},
        {"agent": {"clientFiles": [{"namespace": "shop"}]}},
        {"agent": {"clientFiles": [{"namespace": "shop", "secretName": name} for name in ("a", "b")]}},
        {"agent": {"startupTaint": "a b"}},
        {"ca": {"enabled": False}},
        {"ca": {"maxTtl": "1 day"}},
    ):
        try:
            chart.validate_schema(values)
            chart.render(values, name="sealane", namespace="sealane-system", is_install=True)
        except HelmError:
            continue
        yield f"the chart takes {values}"


def invalid(name, objects, operator):
    for item in objects:
        kind = item["kind"]
        try:
            if item["apiVersion"] == OPERATOR:
                jsonschema.validate(item["spec"], {**operator, "$ref": f"#/$defs/{kind}"})
            else:
                kubernetes_validate.validate(item, KUBERNETES, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{name}: {kind} {item['metadata']['name']}: {getattr(error, 'message', error)}"


def main():
    deploy, operator, command = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
    objects, findings = {}, list(refusals(deploy))
    for name, items in kustomizations(deploy, command):
        objects[name] = items
    for name, items, told in charts(deploy):
        objects[name] = items
        findings += [f"{name}: {text}" for text in told]
    for name, items in objects.items():
        findings += invalid(name, items, operator)
    json.dump({"objects": objects, "findings": findings}, sys.stdout)


main()
