/* Loaded into storescp by LD_PRELOAD: a file that it wrote is synced, and its folder, as it closes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void sync_folder_of(int file)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return;
    path[length] = 0;
    int folder = open(dirname(path), O_RDONLY | O_DIRECTORY);
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
}

int fclose(FILE *stream)
{
    static int (*next)(FILE *);
    struct stat about;
    if (!next)
        next = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
    int file = fileno(stream);
    int written = file >= 0 && (fcntl(file, F_GETFL) & O_ACCMODE) != O_RDONLY;
    if (written && fstat(file, &about) == 0 && S_ISREG(about.st_mode)) {
        fflush(stream);
        if (fsync(file) == 0)
            sync_folder_of(file);
    }
    return next(stream);
}
