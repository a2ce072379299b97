#!/bin/sh
# Bring the TurboJPEG library where it is missing and we may install it; otherwise say what happens without it.
PATH=$PATH:/usr/sbin:/sbin
ldconfig -p 2>/dev/null | grep -q 'libturbojpeg\.so' && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends libturbojpeg0; } >/dev/null 2>&1 && exit 0
fi
echo "TurboJPEG is not installed (Debian/Ubuntu: apt install libturbojpeg0): JPEG files are decoded with OpenCV instead."
