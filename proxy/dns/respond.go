package dns

import (
	"context"

	"github.com/miekg/dns"
	"go.uber.org/zap"
)

// maxUDP is the largest answer sent in one datagram, whatever the asker would take: beyond it datagrams are fragmented
// and lost (the limit of DNS flag day 2020).
const maxUDP = 1232

// Respond makes the answer to any message; nil means that it deserves none. It is what the sockets call, and may be
// called without Run by whoever has a transport of their own. udp says that the answer must fit a datagram.
func (s *Server) Respond(ctx context.Context, req *dns.Msg, udp bool) *dns.Msg {
	if req.Response {
		return nil // answering an answer would be a loop
	}
	if req.Opcode != dns.OpcodeQuery {
		return refuse(req, dns.RcodeNotImplemented)
	}
	if len(req.Question) != 1 {
		return refuse(req, dns.RcodeFormatError)
	}
	opt := req.IsEdns0()
	if opt != nil && opt.Version() != 0 {
		resp := refuse(req, dns.RcodeBadVers)
		resp.SetEdns0(maxUDP, false)
		return resp
	}
	resp := s.answer(ctx, req)
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
		if opt != nil {
			size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
		}
	}
	if opt != nil && resp.IsEdns0() == nil {
		resp.SetEdns0(maxUDP, opt.Do())
	} else if opt == nil {
		resp.Extra = withoutEdns(resp.Extra)
	}
	resp.Truncate(size)
	return resp
}

func (s *Server) answer(ctx context.Context, req *dns.Msg) *dns.Msg {
	q := req.Question[0]
	if q.Qclass != dns.ClassINET {
		return refuse(req, dns.RcodeRefused)
	}
	switch q.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return refuse(req, dns.RcodeRefused)
	}
	r := s.records.Load()
	if r == nil {
		if dns.IsSubDomain(normal(s.cfg.Domain), normal(q.Name)) || len(s.cfg.Upstreams) == 0 {
			return refuse(req, dns.RcodeServerFailure)
		}
		return s.forward(ctx, req)
	}
	resp, ok := r.Answer(q)
	if !ok {
		return s.forward(ctx, req)
	}
	resp.Id, resp.RecursionDesired = req.Id, req.RecursionDesired
	resp.RecursionAvailable = len(s.cfg.Upstreams) > 0
	resp.Compress = true
	return resp
}

func refuse(req *dns.Msg, rcode int) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetRcode(req, rcode)
	return resp
}

func withoutEdns(rrs []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}

// forward asks the upstreams in order.
func (s *Server) forward(ctx context.Context, req *dns.Msg) *dns.Msg {
	if len(s.cfg.Upstreams) == 0 {
		return refuse(req, dns.RcodeRefused)
	}
	select {
	case s.forwards <- struct{}{}:
		defer func() { <-s.forwards }()
	default:
		return refuse(req, dns.RcodeServerFailure)
	}
	for _, upstream := range s.cfg.Upstreams {
		resp, err := s.exchange(ctx, req, upstream)
		if err == nil && resp.Rcode != dns.RcodeServerFailure {
			resp.Id = req.Id
			resp.Question = req.Question
			resp.Compress = true
			return resp
		}
		s.cfg.Logger.Debug("upstream did not answer", zap.String("upstream", upstream), zap.Error(err))
		if ctx.Err() != nil {
			break
		}
	}
	return refuse(req, dns.RcodeServerFailure)
}

// exchange asks one upstream over UDP, and over TCP when the answer did not fit. The question goes out under an id of
// our own, so that an asker can't choose the one that an attacker has to guess.
func (s *Server) exchange(ctx context.Context, req *dns.Msg, upstream string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.UpstreamTimeout)
	defer cancel()
	out := req.Copy()
	out.Id = dns.Id()
	c := dns.Client{Net: "udp", UDPSize: maxUDP, Timeout: s.cfg.UpstreamTimeout}
	resp, _, err := c.ExchangeContext(ctx, out, upstream)
	if err == nil && resp.Truncated {
		c.Net = "tcp"
		resp, _, err = c.ExchangeContext(ctx, out, upstream)
	}
	return resp, err
}
