#include "worker/telemetry/mig_instances.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace neolog::telemetry {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> InstancesAs(const char* mode) {
  setenv("NEOLOG_FAKE_NVML", mode, 1);
  std::vector<std::string> found = MigInstances(NEOLOG_FAKE_NVML_LIBRARY);
  unsetenv("NEOLOG_FAKE_NVML");
  return found;
}

TEST(MigInstancesTest, EveryInstanceThatIsThere) {
  EXPECT_THAT(InstancesAs("mig"), ElementsAre("MIG-00000000", "MIG-00000002"));
}

TEST(MigInstancesTest, NoneWithoutMig_WithoutDriver_AndWithoutNvml) {
  for (const char* mode : {"", "virtual", "no-init"}) EXPECT_THAT(InstancesAs(mode), IsEmpty());
  EXPECT_THAT(MigInstances("/no/such/libnvidia-ml.so.1"), IsEmpty());
  EXPECT_THAT(MigInstances("libm.so.6"), IsEmpty());
}

TEST(VisibleMigInstancesTest, AreThoseThatCudaVisibleDevicesNames_InItsOrder) {
  const std::vector<std::string> all = {"MIG-a", "MIG-b", "MIG-c"};
  EXPECT_THAT(VisibleMigInstances(all, nullptr), ElementsAre("MIG-a", "MIG-b", "MIG-c"));
  EXPECT_THAT(VisibleMigInstances(all, "MIG-c,MIG-a"), ElementsAre("MIG-c", "MIG-a"));
  EXPECT_THAT(VisibleMigInstances(all, "MIG-b,MIG-unknown"), ElementsAre("MIG-b"));
  for (const char* other : {"", "0,1", "GPU-8932f937"})
    EXPECT_THAT(VisibleMigInstances(all, other), IsEmpty()) << other;
}

TEST(IsMigInstanceTest, IsToldByItsName) {
  EXPECT_TRUE(IsMigInstance("MIG-a"));
  EXPECT_FALSE(IsMigInstance("cuda:0"));
  EXPECT_FALSE(IsMigInstance("cpu"));
}

}  // namespace
}  // namespace neolog::telemetry
