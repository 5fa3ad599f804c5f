# cmake -DREADELF=... -DPROGRAM=FILE -DLIBRARY=NAME -P CheckNeeded.cmake: fails unless the program loads the shared library NAME.
execute_process(COMMAND ${READELF} -d ${PROGRAM} OUTPUT_VARIABLE _dynamic COMMAND_ERROR_IS_FATAL ANY)
if(NOT _dynamic MATCHES "NEEDED[^\n]*${LIBRARY}")
  message(FATAL_ERROR "${PROGRAM} does not load ${LIBRARY}: the linker left it out")
endif()
