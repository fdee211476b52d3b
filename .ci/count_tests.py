"""Print the counts of a pytest run on one plain line, from its JUnit file; exit 1 unless all passed."""

import sys
from xml.etree import ElementTree as ET


def main() -> None:
    """Read the file named by the only argument."""
    suites = list(ET.parse(sys.argv[1]).getroot().iter("testsuite"))
    total, skipped = (sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "skipped"))
    failed = sum(int(suite.get(key, "0")) for suite in suites for key in ("failures", "errors"))
    passed = total - skipped - failed
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if failed or not passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
