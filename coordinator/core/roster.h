#pragma once

#include <set>
#include <string>
#include <vector>

#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// What the members of a roster gather over.
struct CollectiveDecision {
  /// As Roster.collective.
  std::string collective;
  /// Why; empty where NCCL is out of the question: nobody offers it, or there is nobody to gather
  /// from.
  std::string reason;
};
/// NCCL when every member offers the same version of it, their own streams otherwise.
CollectiveDecision DecideCollective(const v1::Roster& roster);

/// The next version of a roster: survivors keep their relative order, newcomers follow in the order
/// given. `gone` are worker ids. The result may have no members: then the team is to be disbanded
/// instead. `reason` is completed by that of DecideCollective.
v1::Roster NextRoster(const v1::Roster& current, const std::set<std::string>& gone,
                      const std::vector<v1::RosterMember>& newcomers, const std::string& reason);

/// The first roster of a team, version 1.
v1::Roster FirstRoster(const std::string& team_id, const std::vector<v1::RosterMember>& members,
                       const std::string& reason);

/// A worker as a roster lists it.
v1::RosterMember MemberOf(const Worker& worker);

/// The Assignment for every member of a team: its active runs with their committed states, and the
/// posteriors known for them. `spec` and state bytes are copied.
v1::Assignment AssignmentOf(const ClusterState& state, const Team& team);

/// An assignment without runs: idle.
v1::Assignment IdleAssignment();

}  // namespace neolog::coordinator
