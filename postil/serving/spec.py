"""What the private serving process is told at its start: one JSON file.

    {
      "base": "starter",                    as `postil train --model` takes it; never downloaded here
      "hub": "hf", "revision": null, "device": "auto", "dtype": "auto",
      "threads": null,                      CPU threads; null chooses by the base's size
      "socket": "/run/postil/serving.sock", a Unix socket, made with mode 0600; or
      "host": "127.0.0.1", "port": 0,       a loopback address; port 0 takes a free one and says which
      "control_token_fd": 5,                an inherited descriptor that holds the token to its end; or
      "control_token_file": "/run/token",   a file of mode 0600; never a command line
      "adapters": [{"id": "a1", "directory": "/abs", "name": "ft:starter::a1"}],
      "max_running": 32, "max_queued": 64, "max_loaded_adapters": 32, "cache_bytes": null,
      "exit_with_parent": true              ends when standard input closes, so that it never outlives its parent
    }
"""
