"""What was measured, in the formats of Prometheus and OpenMetrics."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from console.measures import MEASURES, PREFIX, Kind, Measure
from console.measuring import Measured


class _Exposed(Collector):
    """One answer to whoever collects."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        """Give every metric, also those of which nothing is known now: their help stays to be read."""
        return (_family(measure, self._measured) for measure in MEASURES)


def exposed(measured: Measured, accept: str) -> tuple[bytes, str]:
    """Give the text for whoever accepts this, and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Exposed(measured)), content_type


def _family(measure: Measure, measured: Measured) -> Metric:
    name = PREFIX + measure.name
    if measure.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, measure.help, labels=measure.labels)
        for labels, found in measured.histograms.get(measure.name, {}).items():
            buckets = [("+Inf" if bound == "inf" else bound, count) for bound, count in found.buckets]
            histogram.add_metric(labels, buckets, found.sum_s)
        return histogram
    family = (CounterMetricFamily if measure.kind is Kind.COUNTER else GaugeMetricFamily)(
        name, measure.help, labels=measure.labels
    )
    for labels, value in measured.values.get(measure.name, {}).items():
        family.add_metric(labels, value)
    return family
