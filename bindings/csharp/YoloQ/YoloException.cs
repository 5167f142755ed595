// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>How a call of the native library ended; the numbers of yq_status. They never change.</summary>
    public enum Status
    {
        /// <summary>It worked.</summary>
        Ok = 0,
        /// <summary>An argument is wrong: an impossible size, an unknown format, a threshold outside (0, 1].</summary>
        InvalidArgument = 1,
        /// <summary>The package, a file of it, or a library does not exist.</summary>
        NotFound = 2,
        /// <summary>The package is damaged, altered, for another chip, or of an unknown version.</summary>
        Package = 3,
        /// <summary>The chip's SDK is absent or refused.</summary>
        Backend = 4,
        /// <summary>The call's deadline passed, queueing included.</summary>
        Timeout = 5,
        /// <summary>Out of host or device memory.</summary>
        OutOfMemory = 6,
        /// <summary>The device was lost; the next call tries to bring it back.</summary>
        Device = 7,
        /// <summary>A fault of the library's own; please report it with the text.</summary>
        Internal = 8
    }

    /// <summary>Base of every error that YoloQ reports. The message is one line, in English, that says what to do; errors
    /// of a vendor's SDK carry its own code and text.</summary>
    public class YoloException : Exception
    {
        /// <summary>Makes an exception for a status.</summary>
        public YoloException(Status status, string message, Exception inner = null) : base(message, inner)
        {
            Status = status;
        }

        /// <summary>What kind of failure this is.</summary>
        public Status Status { get; private set; }

        /// <summary>The exception for a call of this thread that has just failed with `status`.</summary>
        internal static YoloException LastError(int status)
        {
            string message = Utf8.Text(NativeMethods.yq_last_error());
            return From(status, message.Length > 0 ? message : StatusName(status));
        }

        internal static string StatusName(int status)
        {
            return Utf8.Text(NativeMethods.yq_status_name(status));
        }

        internal static YoloException From(int status, string message)
        {
            switch ((Status)status)
            {
                case Status.InvalidArgument: return new InvalidArgumentException(message);
                case Status.NotFound: return new NotFoundException(message);
                case Status.Package: return new PackageException(message);
                case Status.Backend: return new BackendException(message);
                case Status.Timeout: return new DetectionTimeoutException(message);
                case Status.OutOfMemory: return new NativeMemoryException(message);
                case Status.Device: return new DeviceException(message);
                case Status.Internal: return new InternalErrorException(message);
                default: return new YoloException((Status)status, message);
            }
        }
    }

    /// <summary>An argument is wrong: a picture's size, stride or format, a threshold, a region, an unusable bitmap.</summary>
    public sealed class InvalidArgumentException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public InvalidArgumentException(string message, Exception inner = null)
            : base(Status.InvalidArgument, message, inner) { }
    }

    /// <summary>The package, a file of it, or the backend's library does not exist.</summary>
    public class NotFoundException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public NotFoundException(string message) : base(Status.NotFound, message) { }
    }

    /// <summary>The native library yoloq.dll (libyoloq.so) cannot be used: it is missing, damaged, of another version, or
    /// this is a 32-bit process. The message says which, and where it was looked for.</summary>
    public sealed class NativeLibraryException : NotFoundException
    {
        /// <summary>Makes the exception.</summary>
        public NativeLibraryException(string message, string path, IReadOnlyList<string> searched) : base(message)
        {
            Path = path;
            Searched = searched;
        }

        /// <summary>The file that failed, or the first place where it should be; "" if none was tried.</summary>
        public string Path { get; private set; }

        /// <summary>The places where the file was looked for, in order.</summary>
        public IReadOnlyList<string> Searched { get; private set; }
    }

    /// <summary>The package is damaged, altered, for another chip, or of an unknown version.</summary>
    public sealed class PackageException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public PackageException(string message) : base(Status.Package, message) { }
    }

    /// <summary>The chip's SDK is absent or refused; its own code and text are in the message.</summary>
    public sealed class BackendException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public BackendException(string message) : base(Status.Backend, message) { }
    }

    /// <summary>A detection's deadline passed, queueing included. The picture is not read any more.</summary>
    public sealed class DetectionTimeoutException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public DetectionTimeoutException(string message) : base(Status.Timeout, message) { }
    }

    /// <summary>Out of host or device memory.</summary>
    public sealed class NativeMemoryException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public NativeMemoryException(string message) : base(Status.OutOfMemory, message) { }
    }

    /// <summary>The device was lost. Keep the detector: its next call tries to bring the device back.</summary>
    public sealed class DeviceException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public DeviceException(string message) : base(Status.Device, message) { }
    }

    /// <summary>A fault of the library's own. Please report it with its text.</summary>
    public sealed class InternalErrorException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public InternalErrorException(string message) : base(Status.Internal, message) { }
    }

    /// <summary>Some pictures of a batch failed; the others' results are here all the same. Status and message are those of
    /// the first picture that failed.</summary>
    public sealed class BatchException : YoloException
    {
        /// <summary>Makes the exception.</summary>
        public BatchException(string message, YoloException first, IReadOnlyList<DetectionResult> results,
            IReadOnlyDictionary<int, YoloException> errors) : base(first.Status, message, first)
        {
            Results = results;
            Errors = errors;
        }

        /// <summary>One entry per picture; null where it failed.</summary>
        public IReadOnlyList<DetectionResult> Results { get; private set; }

        /// <summary>Why pictures failed, by their number in the batch.</summary>
        public IReadOnlyDictionary<int, YoloException> Errors { get; private set; }
    }
}
