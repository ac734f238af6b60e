#!/bin/sh
# Does what a function should not do, or should, when it is started without configuration.
case $FUNCTION_TARGET in
Fine) echo GOOGLE_CLOUD_PROJECT is not set >&2; exit 1 ;;
Status) echo GOOGLE_CLOUD_PROJECT is not set; exit 2 ;;
Well) echo GOOGLE_CLOUD_PROJECT is not set ;;
Lines) echo GOOGLE_CLOUD_PROJECT; echo goroutine 1; exit 1 ;;
Silent) exit 1 ;;
Panic) echo panic: no; exit 2 ;;
esac
