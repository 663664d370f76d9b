#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the compose file that passes an arm's serial port and a camera's video nodes to the container `robot`, and the
# groups that may open them.
#
#   docker/devices.sh /dev/serial/by-id/usb-FTDI_... /dev/v4l/by-id/*RealSense* > docker/compose.devices.yaml
set -euo pipefail
if [ $# -lt 1 ]; then
  echo "devices.sh: name the arm's serial port, and then the camera's nodes; see the head of this file" >&2
  exit 2
fi
devices=() groups=()
for link in "$@"; do
  node=$(readlink -f "$link") || node=$link
  if [ ! -c "$node" ]; then
    echo "devices.sh: $link is not a device; plug it in, and look below /dev/serial/by-id and /dev/v4l/by-id" >&2
    exit 1
  fi
  # The arm's port gets a name of its own; a camera's nodes keep theirs, by which its driver finds them.
  if [ ${#devices[@]} = 0 ]; then inside=/dev/arm; else inside=$node; fi
  case " ${devices[*]} " in *" $node:$inside "*) continue ;; esac
  devices+=("$node:$inside")
  group=$(stat -c %g "$node")
  case " ${groups[*]} " in *" $group "*) ;; *) groups+=("$group") ;; esac
done
echo 'services:'
echo '  robot:'
echo '    devices:'
printf "      - '%s'\n" "${devices[@]}"
echo '    group_add:'
printf "      - '%s'\n" "${groups[@]}"
