"""Invalid and contradicting values are refused with a one-line error, and nothing is rendered."""

from __future__ import annotations

import pytest

from tests.deploy.chart import CHART, Refused, helm, rendered

pytestmark = pytest.mark.usefixtures("helm")

SCHEMA = [
    ("minimal", "replicaCount=3", "additional properties 'replicaCount' not allowed"),
    ("minimal", "settings.max_uploads=3", "additional properties 'max_uploads' not allowed"),
    ("minimal", "settings.max_clips=0", "/settings/max_clips'?: minimum: got 0, want 1"),
    ("minimal", "settings.request_timeout_s=0", "/settings/request_timeout_s'?: exclusiveMinimum"),
    ("minimal", "settings.device=tpu", "/settings/device'?: 'tpu' does not match"),
    ("minimal", "settings.log_format=xml", "/settings/log_format'?: value must be one of"),
    ("minimal", "replicas=0", "/replicas'?: minimum: got 0, want 1"),
    ("minimal", "image.digest=sha256:abc", "/image/digest'?: 'sha256:abc' does not match"),
    ("minimal", "model.source=hub", "/model/source'?: value must be one of"),
    ("minimal", "model.path=../../etc", "/model/path'?: '../../etc' does not match"),
    ("minimal", "resources.limits.memory=lots", "/resources/limits/memory'?: 'lots' does not match"),
    ("minimal", "termination.preStopSeconds=0", "/termination/preStopSeconds'?: minimum"),
    ("minimal", "auth.keyHashes={secret}", "/auth/keyHashes/0'?: 'secret' does not match"),
    ("gpu", "redis.url=redis://user:hunter2@redis:6379/0", "/redis/url'?: .* does not match"),
    ("gpu", "redis.url=http://redis", "/redis/url'?: 'http://redis' does not match"),
    ("cpu", "redis.internal.policy=noeviction", "/redis/internal/policy'?: value must be one of"),
    ("cpu", "autoscaling.downStabilisationSeconds=5", "/autoscaling/downStabilisationSeconds'?: minimum"),
    ("training", "training.backend=mpi", "/training/backend'?: value must be one of"),
]

TOGETHER = [
    ("cpu", "autoscaling.keda.enabled=true", "autoscaling.hpa and autoscaling.keda are mutually exclusive"),
    ("cpu", "termination.gracePeriodSeconds=30", "30, too short: preStop 5 [+] drain 5 [+] .*30 [+] margin 10 = 50"),
    ("cpu", "auth.existingSecret=", "auth.enabled requires API keys"),
    ("minimal", "auth.existingSecret=keys", "auth.enabled is false, but keys are set"),
    ("gpu", "redis.existingSecret=", "redis.acl requires a password"),
    ("cpu", "redis.existingSecret=", "redis.acl requires a password"),
    ("gpu", "redis.url=rediss://redis:6379/0", "redis.acl requires a user in redis.url"),
    ("gpu", "redis.url=", "redis.mode external requires redis.url"),
    ("gpu", "redis.url=redis://anysound@redis:6379/0", "redis.tlsSecret requires a rediss:// URL"),
    ("minimal", "redis.url=redis://redis:6379/0", "redis.mode is none, but redis.url"),
    ("gpu", "model.claim=", "model.source claim requires model.claim"),
    ("keda", "model.archive.sha256=", "model.source archive requires model.archive.url and model.archive.sha256"),
    ("minimal", "model.claim=models", "model.source is bundled, but model.claim"),
    ("keda", "autoscaling.keda.prometheus=", "autoscaling.keda requires autoscaling.keda.prometheus"),
    ("keda", "autoscaling.minReplicas=20", "autoscaling.minReplicas 20 is above maxReplicas 16"),
    ("cpu", "settings.max_queue_seconds=20", "autoscaling.waitingAudioSeconds 40 is never reached"),
    ("gpu", "gpu.count=0", "settings.device is cuda, but gpu.count is 0"),
    ("gpu", "settings.device=cpu", "gpu.count is 1, but settings.device is cpu"),
    ("gpu", r"settings.device=cuda:0\,cuda:1", "names more devices than gpu.count 1"),
    ("gpu", "image.tag=", "gpu.count is 1, but image.tag 0.1.0 is the CPU image: set image.tag to 0.1.0-cuda"),
    ("gpu", "image.tag=1.2.3", "set image.tag to 1.2.3-cuda"),
    ("training", "image.tag=", "training.gpusPerNode is 4, but image.tag 0.1.0 is the CPU image"),
    ("minimal", "settings.rate_limit=3", "settings.rate_limit applies per API key, but auth.enabled is false"),
    ("cpu", "settings.max_inflight_bytes=1000", "max_inflight_bytes 1000 is below settings.max_upload_bytes 67108864"),
    ("keda", "autoscaling.minReplicas=1", "rollout.maxSurge is 0 with a single pod"),
    ("gpu", "replicas=1", "rollout.maxSurge is 0 with a single pod"),
    ("gpu", "rollout.maxUnavailable=0", "no pod could be replaced"),
    ("minimal", "image.tag=latest", "image.tag latest is not a fixed version"),
    ("cpu", "ingress.host=", "ingress.enabled requires ingress.host"),
    ("training", "training.recipe=", "training.enabled requires training.recipe"),
    ("training", "training.gpusPerNode=2", "training.processesPerNode is 4, but training.gpusPerNode is 2"),
    ("load-test", "loadTest.url=", "loadTest requires loadTest.url if serving.enabled is false"),
]


@pytest.mark.parametrize(("values", "setting", "said"), SCHEMA)
def test_the_schema_names_the_value(values: str, setting: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        rendered(values, setting)


@pytest.mark.parametrize("tag", ["0.1.0-cuda", "our-build-7"])
def test_another_image_for_a_gpu_is_taken(tag: str) -> None:
    assert f":{tag}" in rendered("gpu", f"image.tag={tag}")
    digest = "sha256:" + "a" * 64
    assert f"@{digest}" in rendered("gpu", "image.tag=", f"image.digest={digest}")


@pytest.mark.parametrize(("values", "setting", "said"), TOGETHER)
def test_contradicting_values_are_named_in_one_line(values: str, setting: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        rendered(values, setting)
    assert len(str(refused.value).splitlines()) == 1


def test_the_default_values_require_keys() -> None:
    with pytest.raises(Refused, match=r"auth\.enabled requires API keys: set auth\.existingSecret or auth\.keyHashes"):
        helm("template", "anysound", str(CHART))
