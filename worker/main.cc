#include "worker/program.h"

int main(int argc, char** argv) { return neolog::RunWorkerProgram(argc, argv); }
