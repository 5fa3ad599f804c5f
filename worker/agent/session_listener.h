#pragma once

#include "worker/agent/agent.h"
#include "worker/session/session.h"

namespace neolog::agent {

/// Passes what the agent hears on to a session, which must outlive it.
class SessionListener : public AgentListener {
 public:
  explicit SessionListener(session::Session* session) : session_(session) {}
  void OnAssignment(const v1::Assignment& assignment, const v1::WorkerIdentity& self) override {
    session_->OnAssignment(assignment, self);
  }
  void OnControl(const v1::ControlRequest& control) override { session_->OnControl(control); }
  void OnCommitted(const v1::Committed& committed) override { session_->OnCommitted(committed); }
  void OnLatent(const v1::LatentReport& latent) override { session_->OnLatent(latent); }
  void OnRefused(const v1::Refused& refused) override { session_->OnRefused(refused); }
  void OnConnection(bool connected) override { session_->OnConnection(connected); }
  void OnRevoked() override { session_->OnRevoked(); }
  void Tick() override { session_->Tick(); }
  v1::Heartbeat Progress() const override { return session_->Progress(); }
  v1::AssignmentReport Held() const override { return session_->Held(); }

 private:
  session::Session* const session_;
};

}  // namespace neolog::agent
