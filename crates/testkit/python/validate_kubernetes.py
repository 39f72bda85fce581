"""validate_kubernetes.py DIR PROJECT: checks the Kubernetes example in DIR.

Each object is validated against the schemas of Kubernetes' own API (the package kubernetes-validate carries them), unknown fields refused.
Then what the objects say about each other, and about the profile `kubernetes` of the project file: names, labels, ports, claims.
"""

import pathlib
import sys

import kubernetes_validate
import yaml

VERSION = "1.37"


def fail(message):
    sys.exit(message)


def main(directory, project):
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    listed = set(kustomization["resources"])
    there = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml"}
    if listed != there:
        fail(f"kustomization.yaml lists {sorted(listed)}, and there are {sorted(there)}")
    objects = []
    for name in sorted(listed):
        for item in yaml.safe_load_all((directory / name).read_text()):
            try:
                kubernetes_validate.validate(item, VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                fail(f"{name}: {item['kind']} {item['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message}")
            objects.append(item)

    def of(*kinds):
        return [item for item in objects if item["kind"] in kinds]

    workloads = of("Deployment", "StatefulSet")
    if len(workloads) != 4:
        fail(f"{len(workloads)} workloads")
    claims = {item["metadata"]["name"] for item in of("PersistentVolumeClaim")}
    accounts = {item["metadata"]["name"] for item in of("ServiceAccount")}
    ports = {}
    for workload in workloads:
        template = workload["spec"]["template"]
        labels = template["metadata"]["labels"]
        if workload["spec"]["selector"]["matchLabels"] != labels:
            fail(f"{workload['metadata']['name']} doesn't select its own pods")
        pod = template["spec"]
        if pod.get("serviceAccountName", "default") not in accounts | {"default"}:
            fail(f"no service account {pod['serviceAccountName']}")
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        volumes |= {claim["metadata"]["name"]: None for claim in workload["spec"].get("volumeClaimTemplates", [])}
        for volume in filter(None, volumes.values()):
            if volume["persistentVolumeClaim"]["claimName"] not in claims:
                fail(f"no claim {volume['persistentVolumeClaim']['claimName']}")
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    fail(f"no volume {mount['name']}")
            ports[labels["app"]] = {port["containerPort"] for port in container["ports"]}
    for service in of("Service"):
        app = service["spec"]["selector"]["app"]
        for port in service["spec"]["ports"]:
            if port["port"] not in ports[app]:
                fail(f"service {service['metadata']['name']} leads to port {port['port']}, which {app} doesn't open")

    profile = yaml.safe_load(project.read_text())["profiles"]["kubernetes"]
    connections = profile["connections"]
    brokers = connections["kafka"]["brokers"]
    advertised = {
        item["value"].removeprefix("PLAINTEXT://")
        for workload in workloads
        for container in workload["spec"]["template"]["spec"]["containers"]
        for item in container.get("env", [])
        if item["name"] == "KAFKA_ADVERTISED_LISTENERS"
    }
    if {brokers} != advertised:
        fail(f"the profile names Kafka as {brokers}, and it calls itself {advertised}")
    for url, service, port in [(connections["spark"]["url"], "spark", 15002), (connections["postgres"]["url"], "postgres", 5432)]:
        if f"{service}:{port}" not in url:
            fail(f"{url} isn't the service {service}:{port}")
    mounts = {
        mount["mountPath"]
        for workload in workloads
        for container in workload["spec"]["template"]["spec"]["containers"]
        for mount in container.get("volumeMounts", [])
    }
    for path in [profile["data_dir"], profile["spark"]["checkpoints"].removeprefix("file://")]:
        if path not in mounts:
            fail(f"{path} is no volume")
    print(f"{len(objects)} objects are valid")


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
