#!/bin/sh
# Bring the Chromium that the tests of the web page need, where it is missing and we may install it; otherwise say so.
for program in chromium chromedriver; do
  command -v "$program" >/dev/null 2>&1 || missing=yes
done
test -z "${missing:-}" && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium chromium-driver; } >/dev/null 2>&1 && exit 0
fi
echo "Chromium is not installed (Debian/Ubuntu: apt install chromium chromium-driver): the web page is not tested."
