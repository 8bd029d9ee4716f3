"""Metrics and traces. Events are observed on the event loop, never on the engine's thread.

metrics.py            all metrics of a process
request_metrics.py    of requests to the engine
http_metrics.py       of HTTP requests
state_metrics.py      read from the server's state at each scrape
heap_metrics.py       of the allocator's heap
task_labels.py        a bounded number of task names as label values
buckets.py            the buckets of histograms
loop_histogram.py     a histogram for what happens at every token
histogram_totals.py   the content of a histogram, for other readers
tracing.py            traces by OpenTelemetry
"""
