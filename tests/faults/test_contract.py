"""The service does what its own description says: Schemathesis makes requests of it and judges the answers."""

import subprocess
import sys

import pytest

from service.access.keys import new_key, write_keys

# Of each operation. With more it finds more, and takes longer.
EXAMPLES = 5
# That whatever fits the description is answered: a description cannot say which model takes which input, or that a
# text must be one.
UNPROMISED = "positive_data_acceptance"


# Half a minute where nothing else runs.
@pytest.mark.timeout(900)
def test_every_answer_is_one_that_the_description_knows(start, tmp_path):
    pytest.importorskip("schemathesis", reason="comes with the extra dev")
    key, secret = new_key("tester", scopes=("infer", "metrics", "admin"))
    write_keys(tmp_path / "keys.json", [key])
    victim = start(admin=True, keys_file=tmp_path / "keys.json")
    command = [
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run",
        f"{victim.url}/openapi.json", "--header", f"Authorization: Bearer {secret}", "--checks", "all",
        "--exclude-checks", UNPROMISED, "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES),
        "--seed", "1", "--request-timeout", "120", "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # As no test is, an operation that was left out is no failure.
    assert "Tested: 26" in done.stdout, done.stdout
    victim.client.headers["X-API-Key"] = secret
    victim.client.post("/v2/repository/models/text-demo/load")  # it may have been unloaded
    victim.require_unharmed()
