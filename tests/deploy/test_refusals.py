"""Values that make no sense are refused with one clear line, and nothing is rendered."""

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
    ("cpu", "autoscaling.keda.enabled=true", "autoscaling.hpa and autoscaling.keda would fight"),
    ("cpu", "termination.gracePeriodSeconds=30", "30, too short: preStop 5 [+] drain 5 [+] .*30 [+] margin 10 = 50"),
    ("cpu", "auth.existingSecret=", "auth.enabled needs a key file"),
    ("minimal", "auth.existingSecret=keys", "auth.enabled is false, yet there are keys"),
    ("gpu", "redis.existingSecret=", "redis.acl needs a password"),
    ("cpu", "redis.existingSecret=", "redis.acl needs a password"),
    ("gpu", "redis.url=rediss://redis:6379/0", "redis.url names no user, yet redis.acl is on"),
    ("gpu", "redis.url=", "redis.mode external needs redis.url"),
    ("gpu", "redis.url=redis://anysound@redis:6379/0", "redis.tlsSecret is of use only with a rediss:// URL"),
    ("minimal", "redis.url=redis://redis:6379/0", "redis.mode is none, yet redis.url"),
    ("gpu", "model.claim=", "model.source claim needs model.claim"),
    ("keda", "model.archive.sha256=", "model.source archive needs model.archive.url and model.archive.sha256"),
    ("minimal", "model.claim=models", "model.source is bundled, yet model.claim"),
    ("keda", "autoscaling.keda.prometheus=", "autoscaling.keda needs autoscaling.keda.prometheus"),
    ("keda", "autoscaling.minReplicas=20", "autoscaling.minReplicas 20 is above maxReplicas 16"),
    ("cpu", "settings.max_queue_seconds=20", "autoscaling.waitingAudioSeconds 40 is never reached"),
    ("gpu", "gpu.count=0", "settings.device is cuda, yet gpu.count is 0"),
    ("gpu", "settings.device=cpu", "gpu.count is 1, yet settings.device is cpu"),
    ("gpu", r"settings.device=cuda:0\,cuda:1", "asks for more than gpu.count 1"),
    ("gpu", "rollout.maxUnavailable=0", "no pod could ever be replaced"),
    ("minimal", "image.tag=latest", "image.tag latest is whatever was pushed last"),
    ("cpu", "ingress.host=", "ingress.enabled needs ingress.host"),
    ("training", "training.recipe=", "training.enabled needs training.recipe"),
    ("training", "training.gpusPerNode=2", "4 processes a node share 2 GPUs"),
    ("load-test", "loadTest.url=", "loadTest without serving needs loadTest.url"),
]


@pytest.mark.parametrize(("values", "setting", "said"), SCHEMA)
def test_the_schema_names_the_value(values: str, setting: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        rendered(values, setting)


@pytest.mark.parametrize(("values", "setting", "said"), TOGETHER)
def test_the_chart_says_in_one_line_what_does_not_fit_together(values: str, setting: str, said: str) -> None:
    with pytest.raises(Refused, match=said) as refused:
        rendered(values, setting)
    assert len(str(refused.value).splitlines()) == 1


def test_without_any_values_a_key_file_is_asked_for() -> None:
    with pytest.raises(Refused, match=r"auth\.enabled needs a key file: name its Secret in auth.existingSecret"):
        helm("template", "anysound", str(CHART))
