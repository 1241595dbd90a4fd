"""The HTTP face of one engine: what `openai` clients speak, and the private routes by which the platform steers it.

Public (with and without the `/v1` in front, slashes at the end are forgiven):

    POST /v1/chat/completions     plain, or SSE with "stream": true; see openai_wire.py for the subset
    GET  /v1/models               the base first, then adapters in the order of their coming
    GET  /v1/models/{id}          ids may hold slashes, plain or as %2F
    GET  /healthz                 200 {"status": "ok"}; never asks for a key

Private, only where a control token was given at the start:

    PUT    /control/adapters/{id}   {"directory": "/absolute/folder", "name": "what requests call it"} (name: default id)
                                    200 {"id", "name", "directory", "rank", "num_bytes", "is_loaded"}
                                    Checked, loaded and answering when the reply comes. The same id again: the folder is
                                    read anew and takes the place of the old one, without a moment between.
                                    400 a folder that must not be loaded (error.code says why, see adapter_checks.py),
                                    404 no such folder, 409 the name belongs to another id.
    DELETE /control/adapters/{id}   200 {"id", "deleted": true}, 404. Answers that are being written go on to their end;
                                    everything that comes later, or still waits, gets 404 model_not_found.
    GET    /control/state           200 {"base", "device", "dtype", "adapters": [{"id", "name", "directory", "rank",
                                    "num_bytes", "is_loaded"}], "num_running", "num_queued", "max_running",
                                    "max_queued", "cache_tokens", "cache_tokens_used", "num_answered", "pid"}

A request names an adapter by its id or by its name, and the base by its own name. More adapters may be attached than
fit into memory: the ones unused for longest are put away and read again when they are asked for.

Keys: with a control token every route but /healthz wants `Authorization: Bearer TOKEN` (the web in front has checked
the user's own key before). Without one, /control does not exist, and /v1 takes any key or, where `api_keys` are given,
those keys only.

Errors have OpenAI's shape {"error": {"message", "type", "param", "code"}}: 400 bad request or prompt too long
(context_length_exceeded), 401, 404 model_not_found, 413 body too large, 429 queue full with Retry-After, 503 stopping.
Replies carry x-request-id (the request's own where it sent one) and openai-processing-ms.

The private process is started as `python -m postil.serving SPEC.json`; the spec's entries are in spec.py. It prints one
line of JSON on standard output when it answers, {"ready": true, "address": "http://127.0.0.1:PORT" or "unix:PATH",
"pid": N}, or {"ready": false, "error": {...}} before it exits with the shell's exit codes, and ends cleanly on SIGTERM.
"""
