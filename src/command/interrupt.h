/* SPDX-License-Identifier: Apache-2.0 */
/* SIGINT, SIGTERM and SIGHUP while files are written: temporary files are removed, and then the process ends
 * by the signal. A thread waits for the signals, since a handler could not exclude that a file is made
 * between its look at the list and the end of the process. */
#ifndef RATECL_COMMAND_INTERRUPT_H
#define RATECL_COMMAND_INTERRUPT_H

/* Start to wait for those of the signals that are not ignored. Call it before the library starts threads:
 * they inherit that these signals are not theirs. Where no thread can be started, nothing changes. */
void interrupt_start(void);

/* Keep signals from ending the process between the two, while a file and the list are changed together. */
void interrupt_hold(void);
void interrupt_release(void);

/* Put a path, which stays the caller's, on the list of files to remove, or take it off. Hold before. */
void interrupt_add(const char *path);
void interrupt_drop(const char *path);

#endif
